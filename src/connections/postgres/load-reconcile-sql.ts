import type { TableMapping } from '../../change/table.ts';
import { postgresTypeOf } from '../../change/types.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';
import { keyText as loggedKey } from './capture-sql.ts';
import { exactly } from './exact-texts.ts';
import { DEFAULT_HISTORY_COLUMNS, type HistoryColumnNames } from './history-ddl.ts';

/** Keys after `after` up to and including `upTo`; without them open at that end. */
export interface KeyRange {
  readonly after: boolean;
  readonly upTo: boolean;
  /** The texts of both keys' columns, as far as there are any. */
  readonly values: readonly string[];
}

/**
 * The statements that compare a load (`rows`, SQL) with its target (`schema.table`). The first parameter is
 * the load's time; the range's values come last. `edited` (SQL): a table of keys, as the log of a captured target
 * names them, that are left alone.
 */
export function reconcileSql({
  mapping,
  names = DEFAULT_HISTORY_COLUMNS,
  target,
  rows,
  edited = null,
}: {
  readonly mapping: TableMapping;
  readonly names?: HistoryColumnNames | undefined;
  readonly target: string;
  readonly rows: string;
  readonly edited?: string | null | undefined;
}) {
  const table = quoteQualified(target);
  const on = quoteIdent(names.onDate);
  const off = quoteIdent(names.offDate);
  const key = mapping.key.map((name) => quoteIdent(name));
  const all = mapping.columns.map(({ name }) => quoteIdent(name));
  const others = mapping.columns.filter(({ name }) => !mapping.key.includes(name));
  const types = mapping.key.map((name) => {
    const { type } = mapping.columns.find((column) => column.name === name)!;
    // A cast to varchar(n) could cut.
    return type.name === 'varchar' ? 'text' : postgresTypeOf(type, quoteQualified);
  });
  const of = (alias: string, columns: readonly string[]): string =>
    columns.map((column) => `${alias}.${column}`).join(', ');
  const texts = (alias: string, columns: readonly string[]): string =>
    `ARRAY[${columns.map((column) => `${alias}.${column}::text`).join(', ')}]`;
  const keysOf = (one: string, other: string): string =>
    key.map((column) => `${one}.${column} = ${other}.${column}`).join(' AND ');
  const sameKey = keysOf('h', 's');
  const keyText = key.length === 1 ? `s.${key[0]}::text` : `array_to_json(${texts('s', key)})::text`;

  /** `from`: the number of the range's first parameter. */
  function within(alias: string, range: KeyRange, from: number): string {
    const bound = (first: number): string =>
      `ROW(${types.map((type, index) => `$${first + index}::text::${type}`).join(', ')})`;
    return [
      'true',
      ...(range.after ? [`ROW(${of(alias, key)}) > ${bound(from)}`] : []),
      ...(range.upTo ? [`ROW(${of(alias, key)}) <= ${bound(from + (range.after ? key.length : 0))}`] : []),
    ].join(' AND ');
  }

  const imageOf = (alias: string): string =>
    `ROW(${others.map((column) => exactly(column, `${alias}.${quoteIdent(column.name)}`)).join(', ')})`;
  const sameImage = (alias: string): string =>
    others.length === 0 ? 'true' : `${imageOf(alias)} IS NOT DISTINCT FROM ${imageOf('s')}`;

  const logKey = (alias: string): string => loggedKey(mapping, (column) => `${alias}.${column}`);
  const unlessEdited = (alias: string): string =>
    edited === null
      ? ''
      : `AND NOT EXISTS (SELECT FROM ${edited} e WHERE e.key = ${logKey(alias)} COLLATE "C")`;

  /**
   * People's clocks are not Delta's: what they changed before the load's version may be dated after it. Where the
   * first thing that the target says after that time is what the load says, it came from here: what Delta itself
   * changed after the version cannot lead to what the version says.
   */
  const unlessSoNext =
    edited === null
      ? ''
      : `AND NOT coalesce((h.${on} IS NULL OR h.${off} <= $1::timestamptz OR h.${off} = n.${on}) AND n.${on} IS NOT NULL AND ${sameImage('n')}, false)`;
  const unlessGoneNext =
    edited === null
      ? ''
      : `AND (h.${off} IS NULL OR h.${off} = 'infinity' OR EXISTS (SELECT FROM ${table} n WHERE ${keysOf('n', 'h')} AND n.${on} = h.${off}))`;

  return {
    range(after: readonly string[] | null, upTo: readonly string[] | null): KeyRange {
      return { after: after !== null, upTo: upTo !== null, values: [...(after ?? []), ...(upTo ?? [])] };
    },

    index: `CREATE UNIQUE INDEX IF NOT EXISTS "${rows.split('"').at(-2)}_key" ON ${rows} (${key.join(', ')})`,

    /** The last of so many of the range's keys, or of fewer whose rows have so many bytes; no row where there are less of both. */
    lastKey: (range: KeyRange, keys: number, bytes: number): string =>
      `SELECT key, n FROM (
         SELECT ${texts('s', key)} AS key, row_number() OVER ordered AS n, sum(pg_column_size(s.*)) OVER ordered AS bytes
         FROM (SELECT * FROM ${rows} s WHERE ${within('s', range, 1)} ORDER BY ${of('s', key)} LIMIT ${keys}) s
         WINDOW ordered AS (ORDER BY ${of('s', key)})) counted
       WHERE n = ${keys} OR bytes >= ${bytes} ORDER BY n LIMIT 1`,

    /** Keys of which the target knows nothing. Params: time, target, range. */
    add: (range: KeyRange): string => `
      INSERT INTO ${table} (${all.join(', ')}, ${quoteIdent(names.isActive)}, ${on}, ${off})
      SELECT ${of('s', all)}, true, $1::timestamptz, NULL FROM ${rows} s
      WHERE ${within('s', range, 3)}
        AND NOT EXISTS (SELECT FROM ${table} h WHERE ${sameKey} AND ${within('h', range, 3)})
        AND NOT EXISTS (SELECT FROM deltaferry.orphan_deletes o WHERE o.target = $2 AND o.key = ${keyText} COLLATE "C")
        ${unlessEdited('s')}
      ORDER BY ${of('s', key)}`,

    /** Rows of the load that are not what the target says at its time. Params: time, range. */
    different: (range: KeyRange): string => `
      SELECT ${texts('s', all)} AS cells, ${logKey('s')} AS key FROM ${rows} s
      LEFT JOIN LATERAL (SELECT h.* FROM ${table} h WHERE ${sameKey} AND h.${on} <= $1::timestamptz
                         ORDER BY h.${on} DESC LIMIT 1) h ON true
      ${edited === null ? '' : `LEFT JOIN LATERAL (SELECT n.* FROM ${table} n WHERE ${keysOf('n', 's')} AND n.${on} > $1::timestamptz ORDER BY n.${on} LIMIT 1) n ON true`}
      WHERE ${within('s', range, 2)}
        AND NOT coalesce((h.${off} IS NULL OR h.${off} > $1::timestamptz) AND h.${on} IS NOT NULL AND ${sameImage('h')}, false)
        ${unlessSoNext} ${unlessEdited('s')}`,

    /** The first keys of which the target says something at that time, and that the load does not have. Params: time, range. */
    absent: (range: KeyRange, most: number): string => `
      SELECT ${texts('h', key)} AS cells, ${logKey('h')} AS key FROM ${table} h
      WHERE ${within('h', range, 2)} AND h.${on} <= $1::timestamptz AND (h.${off} IS NULL OR h.${off} > $1::timestamptz)
        AND NOT EXISTS (SELECT FROM ${rows} s WHERE ${sameKey})
        ${unlessGoneNext} ${unlessEdited('h')}
      ORDER BY ${of('h', key)} LIMIT ${most}`,

    /** Whether any of these keys, or of the rows that this transaction has written, has been edited. Params: keys, range. */
    writtenAndEdited: (range: KeyRange): string => `
      SELECT EXISTS (SELECT FROM ${edited} e WHERE e.key = ANY ($1::text[]))
          OR EXISTS (SELECT FROM ${table} h JOIN ${edited} e ON e.key = ${logKey('h')} COLLATE "C"
                     WHERE h.xmin = pg_current_xact_id()::xid AND ${within('h', range, 2)}) AS found`,
  };
}
