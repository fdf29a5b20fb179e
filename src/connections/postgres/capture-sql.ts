import type { TableMapping } from '../../change/table.ts';
import { quoteIdent } from '../identifiers.ts';
import type { CaptureNames } from './capture-ddl.ts';
import { exactly } from './exact-texts.ts';
import type { HistoryColumnNames } from './history-ddl.ts';

/** A table in Postgres whose changes are logged. */
export interface CaptureTarget {
  /** `schema.table` */
  readonly table: string;
  readonly mapping: TableMapping;
  /** Names of the history's own columns where it is one; null: a plain table, one row per key. */
  readonly history: Pick<HistoryColumnNames, 'onDate' | 'offDate'> | null;
}

/** What the function calls the rows before and after a statement. */
export const OLD_ROWS = 'old_rows';
export const NEW_ROWS = 'new_rows';

/**
 * The body of the trigger function. Every log row says that the current state of a key went from one
 * image to another; null: the key has no current row. An image is a JSON object of the mapped columns whose
 * values are strings in Postgres's text form (booleans `true` and `false`), or null: nothing here
 * depends on what a value is, so no value can make the writer's statement fail.
 */
export function captureBody(target: CaptureTarget, names: CaptureNames): string {
  const log = `deltaferry.${quoteIdent(names.log)}`;
  return `
#variable_conflict use_column
DECLARE
  without_trigger oid[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    ${insertSql(target, log)};
  ELSIF TG_OP = 'UPDATE' THEN
    ${updateSql(target, log)};
  ELSIF TG_OP = 'DELETE' THEN
    ${deleteSql(target, log, `${OLD_ROWS} o`)};
  ELSIF (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = TG_RELID) THEN
    ${truncatePartitioned(target, log, names)}
  ELSE
    ${truncateSql(target, log)};
  END IF;
  RETURN NULL;
END
`;
}

function insertSql(target: CaptureTarget, log: string): string {
  return `INSERT INTO ${log} (op, key, after)
    SELECT 'I', ${keyText(target.mapping, (column) => `n.${column}`)}, ${image(target.mapping, 'n')}
    FROM ${NEW_ROWS} n${where(current(target, 'n'))}`;
}

function deleteSql(target: CaptureTarget, log: string, from: string, condition = ''): string {
  return `INSERT INTO ${log} (op, key, before, changed_at)
    SELECT 'D', ${keyText(target.mapping, (column) => `o.${column}`)}, ${image(target.mapping, 'o')}, ${changedAt(target, 'o')}
    FROM ${from}${where(current(target, 'o'), condition)}`;
}

/** A row whose primary key changed has no counterpart on the other side: it is a delete and an insert. */
function updateSql(target: CaptureTarget, log: string): string {
  const { mapping } = target;
  const [first] = mapping.key.map((name) => quoteIdent(name));
  const compared = (side: string) =>
    `ROW(${mapping.columns.map(({ name }) => `${side}.${quoteIdent(name)}`).join(', ')})::record`;
  const rows = (side: string, table: string) => {
    const condition = current(target, side);
    return condition === ''
      ? `${table} ${side}`
      : `(SELECT * FROM ${table} ${side} WHERE ${condition}) ${side}`;
  };
  return `INSERT INTO ${log} (op, key, before, after, changed_at)
    SELECT CASE WHEN o.${first} IS NULL THEN 'I' WHEN n.${first} IS NULL THEN 'D' ELSE 'U' END,
           ${keyText(mapping, (column) => `coalesce(n.${column}, o.${column})`)},
           CASE WHEN o.${first} IS NOT NULL THEN ${image(mapping, 'o')} END,
           CASE WHEN n.${first} IS NOT NULL THEN ${image(mapping, 'n')} END,
           ${changedAt(target, 'o')}
    FROM ${rows('o', OLD_ROWS)} FULL JOIN ${rows('n', NEW_ROWS)} ON ${samePrimaryKey(target)}
    WHERE o.${first} IS NULL OR n.${first} IS NULL OR ${compared('o')} *<> ${compared('n')}`;
}

/**
 * TRUNCATE of a partitioned table fires the triggers of its partitions as well, and each logs its own rows.
 * Partitions added since setup have no trigger yet: their rows are logged by the table that was named.
 */
function truncatePartitioned(target: CaptureTarget, log: string, names: CaptureNames): string {
  return `without_trigger := array(
      SELECT t.relid::oid FROM pg_partition_tree(TG_RELID) t
      WHERE t.isleaf AND NOT EXISTS (
        SELECT FROM pg_trigger g WHERE g.tgrelid = t.relid AND g.tgname = ${literal(names.triggers.truncate)}));
    IF cardinality(without_trigger) > 0 THEN
      ${truncateSql(target, log, 'o.tableoid = ANY ($1)')} USING without_trigger;
    END IF;`;
}

/** The table is the one that fired, under whatever name it has by now. */
function truncateSql(target: CaptureTarget, log: string, condition = ''): string {
  const [before, after] = deleteSql(target, log, `${FIRED} o`, condition).split(FIRED);
  return `EXECUTE ${literal(before ?? '')} || TG_RELID::regclass || ${literal(after ?? '')}`;
}

/** No name holds it. */
const FIRED = '\u0000';

/** Whether a row is the current state of its key; a plain row always is. */
function current({ history }: CaptureTarget, side: string): string {
  if (history === null) return '';
  const off = `${side}.${quoteIdent(history.offDate)}`;
  return `(${off} IS NULL OR ${off} = 'infinity'::timestamptz)`;
}

function where(...conditions: readonly string[]): string {
  const given = conditions.filter((condition) => condition !== '');
  return given.length === 0 ? '' : `\n    WHERE ${given.join(' AND ')}`;
}

/**
 * A version that begins a little ahead of this clock must not be ended before it begins; one that begins far
 * ahead must not freeze its key.
 */
function changedAt({ history }: CaptureTarget, side: string): string {
  if (history === null) return 'clock_timestamp()';
  const on = `${side}.${quoteIdent(history.onDate)}`;
  return `CASE WHEN ${on} >= clock_timestamp() AND ${on} < clock_timestamp() + '5 minutes'::interval
                THEN ${on} + '1 microsecond'::interval ELSE clock_timestamp() END`;
}

function samePrimaryKey({ mapping, history }: CaptureTarget): string {
  const keys = mapping.key.map((name) => {
    const column = mapping.columns.find((candidate) => candidate.name === name);
    return ['o', 'n'].map((side) => exactly(column, `${side}.${quoteIdent(name)}`)).join(' = ');
  });
  const on = history === null ? [] : [`o.${quoteIdent(history.onDate)} = n.${quoteIdent(history.onDate)}`];
  return [...keys, ...on].join(' AND ');
}

function image({ columns }: TableMapping, side: string): string {
  const names = columns.map(({ name }) => literal(name)).join(', ');
  const values = columns.map(({ name }) => `${side}.${quoteIdent(name)}::text`).join(', ');
  return `json_object(ARRAY[${names}], ARRAY[${values}])`;
}

/** How the log names a key; several key columns: a JSON array of their texts. `value`: SQL of a column that is quoted already. */
export function keyText({ key }: Pick<TableMapping, 'key'>, value: (column: string) => string): string {
  const texts = key.map((name) => `${value(quoteIdent(name))}::text`);
  return texts.length === 1 ? texts.join('') : `json_build_array(${texts.join(', ')})::text`;
}

/** Read the same whatever the session's standard_conforming_strings. */
function literal(text: string): string {
  return `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}
