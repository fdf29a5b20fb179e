import { columnTypeText, postgresTypeOf } from '../change/types.ts';
import type { Column } from '../change/table.ts';
import { quoteIdent, quoteQualified } from '../connections/identifiers.ts';
import type { CaptureTarget } from '../connections/postgres/capture-sql.ts';
import { alterTable } from '../connections/postgres/history-ddl.ts';
import { fitsPostgres, readsPostgres } from './column-fit.ts';
import type { ExistingHistory, Finding } from './plan-history.ts';

/** What a table must be for its changes to be logged. */
export function checkCaptured(
  target: CaptureTarget,
  existing: ExistingHistory,
  { columnsChecked }: { readonly columnsChecked: boolean },
): readonly Finding[] {
  if (existing.kind !== 'table' && existing.kind !== 'partitioned table')
    return columnsChecked ? [] : [mismatch(`is a ${existing.kind}: only tables can be captured`)];
  return [
    ...(columnsChecked || existing.logged ? [] : [unlogged(target)]),
    ...wantedColumns(target).flatMap((column) => checkColumn(target, existing, column, columnsChecked)),
    ...checkPrimaryKey(target, existing),
  ];
}

/** The mapped columns, and of a history those that say which version is current. */
function wantedColumns({ mapping, history }: CaptureTarget): readonly Column[] {
  const own = history === null ? [] : [history.onDate, history.offDate];
  return [...mapping.columns, ...own.map((name): Column => ({ name, type: { name: 'timestamptz' } }))];
}

function checkColumn(
  { table }: CaptureTarget,
  { columns, enums }: ExistingHistory,
  { name, type }: Column,
  columnsChecked: boolean,
): readonly Finding[] {
  const found = columns.find((column) => column.name === name);
  const wanted = columnTypeText(type);
  if (found === undefined) {
    if (columnsChecked) return [];
    const added = `ADD COLUMN ${quoteIdent(name)} ${postgresTypeOf(type, quoteQualified)}`;
    return [mismatch(`column ${name} (${wanted}) is missing`, alterTable(table, added))];
  }
  if (found.generated)
    return columnsChecked
      ? []
      : [
          mismatch(
            `column ${name} is a generated column: leave it out of the mapping, or make it an ordinary one`,
            alterTable(table, `ALTER COLUMN ${quoteIdent(name)} DROP EXPRESSION`),
          ),
        ];
  // What a history cannot hold is said with the history.
  const said = columnsChecked && !fitsPostgres(type, found.type, enums);
  if (said || readsPostgres(type, found.type, enums)) return [];
  return [
    mismatch(
      `column ${name} is ${found.type}, and ${wanted} does not hold all that it can: ` +
        'map it as what it is (docs/TYPES.md), or change its type',
      alterTable(table, `ALTER COLUMN ${quoteIdent(name)} TYPE ${postgresTypeOf(type, quoteQualified)}`),
    ),
  ];
}

/** One row per key, or per key and start: the two sides of an UPDATE are paired by it. */
function checkPrimaryKey(target: CaptureTarget, { uniqueIndexes }: ExistingHistory): readonly Finding[] {
  const { table, mapping, history } = target;
  const wanted = history === null ? mapping.key : [...mapping.key, history.onDate];
  const text = wanted.join(', ');
  const primary = uniqueIndexes.find((index) => index.primary);
  if (primary === undefined) {
    const columns = wanted.map((name) => quoteIdent(name)).join(', ');
    return [
      mismatch(`has no primary key: (${text}) wanted`, alterTable(table, `ADD PRIMARY KEY (${columns})`)),
    ];
  }
  const found = primary.columns.map((column) => column ?? 'an expression');
  if (found.length !== wanted.length || wanted.some((name) => !found.includes(name)))
    return [
      mismatch(
        `its primary key is (${found.join(', ')}), and (${text}) is wanted: ` +
          (history === null
            ? 'make it the key of the mapping'
            : `the key of the mapping is the primary key without ${history.onDate}`),
      ),
    ];
  if (!primary.enforced)
    return [
      mismatch(
        `its primary key ${primary.name} is deferrable: two rows may have one key for a while. Make it NOT DEFERRABLE`,
      ),
    ];
  return [];
}

function unlogged({ table }: CaptureTarget): Finding {
  return mismatch(
    'is UNLOGGED: Postgres empties it after a crash, and no trigger fires then',
    alterTable(table, 'SET LOGGED'),
  );
}

function mismatch(detail: string, sql?: string): Finding {
  return { kind: 'mismatch', detail, ...(sql === undefined ? {} : { sql }) };
}
