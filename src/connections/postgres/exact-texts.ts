import type { Column } from '../../change/table.ts';

/** SQL for a column's value that equals another only where it is the same text, whatever its collation takes for equal. */
export function exactly(column: Pick<Column, 'type'> | undefined, value: string): string {
  const isText = column?.type.name === 'text' || column?.type.name === 'varchar';
  return isText ? `${value} COLLATE "C"` : value;
}
