import type { Row } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';

export const employees: TableMapping = {
  name: 'employees',
  key: ['emp_id'],
  columns: [
    { name: 'emp_id', type: { name: 'bigint' } },
    { name: 'name', type: { name: 'text' } },
    { name: 'salary', type: { name: 'numeric', precision: 12, scale: 2 } },
  ],
};

export function employee(
  id: number | null,
  name: string | null = 'Ann',
  salary: string | null = '10.00',
): Row {
  return [id, name, salary];
}
