import { quoteIdent, splitQualified } from '../connections/identifiers.ts';
import {
  alterTable,
  createHistoryTable,
  versionKey,
  type HistoryTarget,
} from '../connections/postgres/history-ddl.ts';
import type { HistoryTableFacts } from '../connections/postgres/history-table.ts';
import { checkColumns, checkExtraColumns } from './history-columns.ts';
import { checkKeys } from './history-keys.ts';
import type { Step } from './plan.ts';

/** Something about a table that exists, and what a person can run to mend it. */
export interface Finding {
  readonly kind: 'mismatch' | 'warning';
  readonly detail: string;
  readonly sql?: string;
}

export type ExistingHistory = Extract<HistoryTableFacts, { exists: true }>;

/** Creates the history where it is missing; otherwise says everything about it that does not fit. */
export function planHistoryTable(
  target: HistoryTarget,
  existing: HistoryTableFacts | undefined,
): readonly Step[] {
  const { table } = target;
  const what = `history table ${table}`;
  const findings = findingsOf(target, existing);
  const steps = findings.map(({ kind, detail, sql }): Step => {
    return { kind, what, detail, ...(sql === undefined ? {} : { sql: [sql] }) };
  });
  if (findings.some(({ kind }) => kind === 'mismatch')) return steps;
  if (existing?.exists === true)
    return [
      { kind: 'ok', what, detail: 'columns, types, primary key and current-version index fit' },
      ...steps,
    ];
  const statements = createHistoryTable(target);
  const detail = `primary key (${versionKey(target).join(', ')}), one current version per key`;
  const action = { do: 'create history', table, statements } as const;
  return [{ kind: 'create', what, detail, sql: statements, action }];
}

function findingsOf(target: HistoryTarget, existing: HistoryTableFacts | undefined): readonly Finding[] {
  if (existing === undefined) return [];
  const missingTypes = [...existing.enums].flatMap(([name, known]) => (known === null ? [name] : []));
  const enums = missingTypes.map((name): Finding => ({
    kind: 'mismatch',
    detail: `enum type ${name} of the mapping does not exist`,
  }));
  return [...enums, ...(existing.exists ? checkTable(target, existing) : checkSchema(target, existing))];
}

function checkSchema(
  { table }: HistoryTarget,
  existing: { readonly schemaExists: boolean },
): readonly Finding[] {
  if (existing.schemaExists) return [];
  const [schema, ...rest] = splitQualified(table);
  if (schema === undefined || rest.length === 0)
    return [
      { kind: 'mismatch', detail: 'no schema of the search path exists; name one, as in public.employees' },
    ];
  return [
    {
      kind: 'mismatch',
      detail: `schema ${schema} does not exist`,
      sql: `CREATE SCHEMA ${quoteIdent(schema)}`,
    },
  ];
}

function checkTable(target: HistoryTarget, existing: ExistingHistory): readonly Finding[] {
  if (existing.kind !== 'table' && existing.kind !== 'partitioned table')
    return [{ kind: 'mismatch', detail: `is a ${existing.kind}, not a table` }];
  return [
    ...checkStorage(target, existing),
    ...checkColumns(target, existing),
    ...checkExtraColumns(target, existing),
    ...checkKeys(target, existing),
  ];
}

function checkStorage(
  { table }: HistoryTarget,
  { logged, rowSecurity }: ExistingHistory,
): readonly Finding[] {
  const findings: Finding[] = [];
  if (!logged)
    findings.push({
      kind: 'mismatch',
      detail:
        'is UNLOGGED: Postgres empties it after a crash, and what was applied would be missing for good',
      sql: alterTable(table, 'SET LOGGED'),
    });
  if (rowSecurity)
    findings.push({
      kind: 'warning',
      detail: 'has row level security: its role needs BYPASSRLS, since COPY cannot write through policies',
    });
  return findings;
}
