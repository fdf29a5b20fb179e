/**
 * The type of a mapped column, named as Postgres names it. docs/TYPES.md lists what each is on the
 * wire and in Delta.
 */
export type ColumnType =
  | { readonly name: 'boolean' }
  | { readonly name: 'smallint' }
  | { readonly name: 'integer' }
  | { readonly name: 'bigint' }
  | { readonly name: 'numeric'; readonly precision: number; readonly scale: number }
  | { readonly name: 'real' }
  | { readonly name: 'double precision' }
  | { readonly name: 'text' }
  | { readonly name: 'varchar'; readonly length: number }
  | { readonly name: 'date' }
  | { readonly name: 'timestamp' }
  | { readonly name: 'timestamptz' }
  | { readonly name: 'uuid' }
  | { readonly name: 'bytea' }
  | { readonly name: 'jsonb' }
  | { readonly name: 'enum'; readonly type: string };

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
}

/** What of a table is kept in step: its columns in order, and which of them identify a row. */
export interface TableMapping {
  readonly name: string;
  readonly key: readonly string[];
  readonly columns: readonly Column[];
}

/** Indexes of the key columns in `columns`, in key order. */
export function keyIndexes(mapping: TableMapping): readonly number[] {
  return mapping.key.map((name) => mapping.columns.findIndex((column) => column.name === name));
}
