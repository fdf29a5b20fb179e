import type { Change } from '../../src/change/change.ts';
import { keyOf } from '../../src/change/key.ts';
import type { Column, TableMapping } from '../../src/change/table.ts';
import { parseColumnType } from '../../src/change/types.ts';

/** The default table; schemas/employees_changes-value.avsc is generated from it. */
export const EMPLOYEES: TableMapping = table('employees', ['emp_id'], {
  emp_id: 'bigint',
  name: 'text',
  salary: 'numeric(12,2)',
});

export function table(
  name: string,
  key: readonly string[],
  columns: Readonly<Record<string, string>>,
): TableMapping {
  return {
    name,
    key,
    columns: Object.entries(columns).map(([column, type]): Column => ({
      name: column,
      type: parseColumnType(type),
    })),
  };
}

/** A change of the mapping with plausible values where none are given; the key follows the row. */
export function changeOf(mapping: TableMapping, given: Partial<Omit<Change, 'key'>>): Change {
  const change = {
    op: 'insert',
    before: null,
    after: null,
    origin: 'delta',
    table: mapping.name,
    position: 42,
    ts: 1_735_689_600_123_456,
    tx: null,
    load: null,
    ...given,
  } as const;
  const row = change.after ?? change.before;
  return { ...change, key: row === null ? '' : keyOf(mapping)(row) };
}
