import type { TableMapping } from '../../change/table.ts';
import { postgresTypeOf } from '../../change/types.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';

/** What a history calls its own columns. */
export interface HistoryColumnNames {
  readonly onDate: string;
  readonly offDate: string;
  readonly isActive: string;
}

export const DEFAULT_HISTORY_COLUMNS: HistoryColumnNames = {
  onDate: 'on_date',
  offDate: 'off_date',
  isActive: 'is_active',
};

/** A table that holds, or is to hold, the history of a mapping. */
export interface HistoryTarget {
  /** `schema.table` */
  readonly table: string;
  readonly mapping: TableMapping;
  readonly names: HistoryColumnNames;
}

/** The columns a history has beside the mapped ones, in order. */
export function ownColumns({ onDate, offDate, isActive }: HistoryColumnNames) {
  return [
    { name: isActive, type: 'boolean', notNull: true },
    { name: onDate, type: 'timestamptz', notNull: true },
    { name: offDate, type: 'timestamptz', notNull: false },
  ] as const;
}

/** The statements that create the table; they run in one transaction. */
export function createHistoryTable(target: HistoryTarget): readonly string[] {
  const { table, mapping, names } = target;
  const columns = [
    ...mapping.columns.map(({ name, type }) =>
      columnText(name, postgresTypeOf(type, quoteQualified), mapping.key.includes(name)),
    ),
    ...ownColumns(names).map(({ name, type, notNull }) => columnText(name, type, notNull)),
    `PRIMARY KEY (${versionKeyText(target)})`,
  ];
  return [
    `CREATE TABLE ${quoteQualified(table)} (\n  ${columns.join(',\n  ')}\n)`,
    createCurrentIndex(target),
  ];
}

/** One current version per key (H2), and the way to find it. Postgres picks the name. */
export function createCurrentIndex({ table, mapping, names }: HistoryTarget): string {
  const key = mapping.key.map((name) => quoteIdent(name)).join(', ');
  return `CREATE UNIQUE INDEX ON ${quoteQualified(table)} (${key}) WHERE ${quoteIdent(names.offDate)} IS NULL`;
}

export function addPrimaryKey(target: HistoryTarget): string {
  return alterTable(target.table, `ADD PRIMARY KEY (${versionKeyText(target)})`);
}

export function addUniqueKey(target: HistoryTarget): string {
  return alterTable(target.table, `ADD UNIQUE (${versionKeyText(target)})`);
}

/** `action` is SQL whose identifiers are quoted already. */
export function alterTable(table: string, action: string): string {
  return `ALTER TABLE ${quoteQualified(table)} ${action}`;
}

/** The columns that identify a version. */
export function versionKey({ mapping, names }: HistoryTarget): readonly string[] {
  return [...mapping.key, names.onDate];
}

function versionKeyText(target: HistoryTarget): string {
  return versionKey(target)
    .map((name) => quoteIdent(name))
    .join(', ');
}

function columnText(name: string, type: string, notNull: boolean): string {
  return `${quoteIdent(name)} ${type}${notNull ? ' NOT NULL' : ''}`;
}
