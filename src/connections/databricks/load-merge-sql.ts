import { keyIndexes, type ColumnType, type TableMapping } from '../../change/table.ts';
import { quoteDatabricksIdent, quoteDatabricksQualified } from '../identifiers.ts';
import { exchangeText } from './changes-sql.ts';
import { fromExchange, keyTerms } from './merge-sql.ts';

/** Staged files of lines that `mergeLine` writes, or that `touchedSql` gives: a folder, which may be a pattern. */
export interface StagedLines {
  readonly folder: string;
  /** Parameter with the JSON array of the names of those that count. */
  readonly names: string;
}

export interface LoadMergeSqlOptions {
  readonly mapping: TableMapping;
  readonly table: string;
  readonly epochs: string;
  /** Keys that are left alone; null where there are none. */
  readonly touched: StagedLines | null;
  /** Nothing is done unless the table consists of the files that `:print` stands for. */
  readonly guarded: boolean;
}

/**
 * The MERGE of staged rows. Parameters: `:sink` and `:epoch` as in merge-sql.ts, `:ferry`, the names of the files, and
 * `:print` where it is guarded. `add`: those that the table has nothing of; `correct`: those that it has otherwise. In
 * one statement they would write every file anew that has a row of the load, differing or not.
 */
export function loadMergeSql(
  options: LoadMergeSqlOptions,
  lines: StagedLines,
  what: 'add' | 'correct',
): string {
  const { mapping } = options;
  const names = mapping.columns.map(({ name }) => quoteDatabricksIdent(name));
  const isKey = new Set(keyIndexes(mapping));
  const others = mapping.columns.flatMap(({ type }, index) =>
    isKey.has(index) ? [] : [{ name: names[index]!, cell: `s.c${index}`, type }],
  );
  const same = others.map(({ name, cell, type }) => sameValue(type, `t.${name}`, cell)).join(' AND ');
  return [
    `MERGE INTO ${quoteDatabricksQualified(options.table)} AS t`,
    `USING (SELECT r.*, :ferry AS ferry FROM (${linesSql(mapping, lines, all(mapping))}) AS r ${keptBack(options, 'r')}) AS s`,
    `ON ${[...keyTerms(mapping), 's.ferry = :ferry'].join(' AND ')}`,
    what === 'correct'
      ? `WHEN MATCHED AND NOT (${same}) THEN UPDATE SET ${others.map(({ name, cell }) => `t.${name} = ${cell}`).join(', ')}`
      : `WHEN NOT MATCHED THEN INSERT (${names.join(', ')}) VALUES (${names.map((_, index) => `s.c${index}`).join(', ')})`,
  ].join(' ');
}

/** The MERGE that deletes what has none of the keys in the files; `lines` null: what has any key. */
export function removeAbsentSql(options: LoadMergeSqlOptions, lines: StagedLines | null): string {
  const { mapping, table } = options;
  const keys = keyIndexes(mapping);
  const present = keys.map((index, at) => {
    const name = `c.${quoteDatabricksIdent(mapping.key[at] ?? '')}`;
    const isUuid = mapping.columns[index]?.type.name === 'uuid';
    return `${isUuid ? `lower(${name})` : name} AS c${index}`;
  });
  const absent =
    lines === null
      ? ''
      : `LEFT ANTI JOIN (${linesSql(mapping, lines, keys)}) AS r ON ${sameKey(keys, 'h', 'r')} `;
  return [
    `MERGE INTO ${quoteDatabricksQualified(table)} AS t`,
    `USING (SELECT h.*, :ferry AS ferry`,
    `FROM (SELECT DISTINCT ${present.join(', ')} FROM ${quoteDatabricksQualified(table)} AS c) AS h`,
    `${absent}${keptBack(options, 'h')}) AS s`,
    `ON ${[...keyTerms(mapping), 's.ferry = :ferry'].join(' AND ')}`,
    'WHEN MATCHED THEN DELETE',
  ].join(' ');
}

/**
 * Stands for the files of a table's data: a commit that changes a row changes it. `version` null: as they are when the
 * statement reads them, which within a MERGE into the table is as the MERGE finds it.
 */
export function printSql(table: string, version: number | null): string {
  const at = version === null ? '' : ` VERSION AS OF ${version}`;
  return (
    `SELECT concat_ws(' ', count(*), coalesce(sum(pmod(xxhash64(p._metadata.file_path), 1000000007)), 0)) AS print ` +
    `FROM ${quoteDatabricksQualified(table)}${at} AS p`
  );
}

/**
 * Lines with the keys that commits of others have changed, or that they hold twice; rewriting a row as it was changes
 * nothing. Parameters: `:table`, the versions `:from` to `:to`, and `:own`, a JSON array of those that do not count.
 */
export function touchedSql(mapping: TableMapping): string {
  const indexes = keyIndexes(mapping);
  const keys = indexes.map((index, at) => {
    const column = mapping.columns[index]!;
    return { cell: `k${at}`, sql: exchangeText(column.type, column.name), field: `c${index}` };
  });
  const image = mapping.columns.map(({ name, type }) => exchangeText(type, name)).join(', ');
  const cells = keys.map(({ cell }) => cell).join(', ');
  return [
    `SELECT to_json(struct(${keys.map(({ cell, field }) => `${cell} AS ${field}`).join(', ')})) AS line FROM (`,
    `SELECT ${keys.map(({ sql, cell }) => `${sql} AS ${cell}`).join(', ')}, c._commit_version AS v,`,
    `c._change_type IN ('update_preimage', 'delete') AS old, to_json(array(${image})) AS image`,
    `FROM (SELECT * FROM table_changes(:table, :from, :to)) AS c`,
    `WHERE NOT array_contains(from_json(:own, 'ARRAY<BIGINT>'), c._commit_version)) AS changed`,
    `GROUP BY ${cells}, v`,
    'HAVING count_if(old) <> 1 OR count_if(NOT old) <> 1',
    'OR NOT (max(CASE WHEN old THEN image END) <=> max(CASE WHEN NOT old THEN image END))',
  ].join(' ');
}

function all({ columns }: TableMapping): readonly number[] {
  return columns.map((_, index) => index);
}

/** The typed cells of these columns, `c0` … by their place in the mapping. */
function linesSql(mapping: TableMapping, { folder, names }: StagedLines, indexes: readonly number[]): string {
  const fields = indexes.map((index) => `c${index} STRING`).join(', ');
  const cells = indexes.map(
    (index) => `${fromExchange(mapping.columns[index]!.type, `l.j.c${index}`)} AS c${index}`,
  );
  // A line that is not read must fail the statement: by default it would be a row of nulls.
  return [
    `SELECT ${cells.join(', ')} FROM (`,
    `SELECT from_json(value, 'STRUCT<${fields}>', map('mode', 'FAILFAST')) AS j`,
    `FROM text.${quoteDatabricksIdent(folder)}`,
    `WHERE array_contains(from_json(:${names}, 'ARRAY<STRING>'), _metadata.file_name)) AS l`,
  ].join(' ');
}

/** What follows the relation `of` in FROM: which of its rows do not count. */
function keptBack({ mapping, table, epochs, touched, guarded }: LoadMergeSqlOptions, of: string): string {
  const keys = keyIndexes(mapping);
  return [
    ...(touched === null
      ? []
      : [`LEFT ANTI JOIN (${linesSql(mapping, touched, keys)}) AS x ON ${sameKey(keys, of, 'x')}`]),
    `WHERE EXISTS (SELECT 1 FROM ${quoteDatabricksQualified(epochs)} AS e WHERE e.sink = :sink AND e.epoch = :epoch)`,
    ...(guarded ? [`AND (${printSql(inOtherCase(table), null)}) = :print`] : []),
  ].join(' ');
}

/**
 * The same table under another writing of its name: names have no case. Spark resolves a name once per statement, and
 * what it has resolved as the target of a MERGE does not tell its files.
 */
function inOtherCase(table: string): string {
  const at = table.search(/[a-z](?=[^a-z]*$)/i);
  const letter = table.charAt(at);
  const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
  return at < 0 ? table : table.slice(0, at) + other + table.slice(at + 1);
}

function sameKey(keys: readonly number[], a: string, b: string): string {
  return keys.map((index) => `${a}.c${index} = ${b}.c${index}`).join(' AND ');
}

/** As the change feed compares: texts of floats tell zeros apart, and a uuid's case says nothing. */
function sameValue({ name }: ColumnType, a: string, b: string): string {
  switch (name) {
    case 'real':
    case 'double precision':
      return `cast(${a} AS STRING) <=> cast(${b} AS STRING)`;
    case 'uuid':
      return `lower(${a}) <=> ${b}`;
    default:
      return `${a} <=> ${b}`;
  }
}
