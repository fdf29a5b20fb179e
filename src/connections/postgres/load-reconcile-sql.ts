import type { TableMapping } from '../../change/table.ts';
import { postgresTypeOf } from '../../change/types.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';
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
 * the load's time; the range's values come last.
 */
export function reconcileSql({
  mapping,
  names = DEFAULT_HISTORY_COLUMNS,
  target,
  rows,
}: {
  readonly mapping: TableMapping;
  readonly names?: HistoryColumnNames | undefined;
  readonly target: string;
  readonly rows: string;
}) {
  const table = quoteQualified(target);
  const on = quoteIdent(names.onDate);
  const off = quoteIdent(names.offDate);
  const key = mapping.key.map((name) => quoteIdent(name));
  const all = mapping.columns.map(({ name }) => quoteIdent(name));
  const others = mapping.columns.flatMap(({ name }) =>
    mapping.key.includes(name) ? [] : [quoteIdent(name)],
  );
  const types = mapping.key.map((name) => {
    const { type } = mapping.columns.find((column) => column.name === name)!;
    // A cast to varchar(n) could cut.
    return type.name === 'varchar' ? 'text' : postgresTypeOf(type, quoteQualified);
  });
  const of = (alias: string, columns: readonly string[]): string =>
    columns.map((column) => `${alias}.${column}`).join(', ');
  const texts = (alias: string, columns: readonly string[]): string =>
    `ARRAY[${columns.map((column) => `${alias}.${column}::text`).join(', ')}]`;
  const sameKey = key.map((column) => `h.${column} = s.${column}`).join(' AND ');
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

  const sameImage =
    others.length === 0 ? 'true' : `ROW(${of('h', others)}) IS NOT DISTINCT FROM ROW(${of('s', others)})`;

  return {
    range(after: readonly string[] | null, upTo: readonly string[] | null): KeyRange {
      return { after: after !== null, upTo: upTo !== null, values: [...(after ?? []), ...(upTo ?? [])] };
    },

    index: `CREATE UNIQUE INDEX IF NOT EXISTS "${rows.split('"').at(-2)}_key" ON ${rows} (${key.join(', ')})`,

    /** The key at this place of the range. */
    keyAt: (range: KeyRange, place: number): string =>
      `SELECT ${texts('s', key)} AS key FROM ${rows} s WHERE ${within('s', range, 1)}
       ORDER BY ${of('s', key)} OFFSET ${place - 1} LIMIT 1`,

    /** Keys of which the target knows nothing. Params: time, target, range. */
    add: (range: KeyRange): string => `
      INSERT INTO ${table} (${all.join(', ')}, ${quoteIdent(names.isActive)}, ${on})
      SELECT ${of('s', all)}, true, $1::timestamptz FROM ${rows} s
      WHERE ${within('s', range, 3)}
        AND NOT EXISTS (SELECT FROM ${table} h WHERE ${sameKey} AND ${within('h', range, 3)})
        AND NOT EXISTS (SELECT FROM deltaferry.orphan_deletes o WHERE o.target = $2 AND o.key = ${keyText} COLLATE "C")
      ORDER BY ${of('s', key)}`,

    /** Rows of the load that are not what the target says at its time. Params: time, range. */
    different: (range: KeyRange): string => `
      SELECT ${texts('s', all)} AS cells FROM ${rows} s
      LEFT JOIN LATERAL (SELECT h.* FROM ${table} h WHERE ${sameKey} AND h.${on} <= $1::timestamptz
                         ORDER BY h.${on} DESC LIMIT 1) h ON true
      WHERE ${within('s', range, 2)}
        AND NOT coalesce((h.${off} IS NULL OR h.${off} > $1::timestamptz) AND h.${on} IS NOT NULL AND ${sameImage}, false)`,

    /** What the target says at that time of keys that the load does not have. Params: time, range. */
    absent: (range: KeyRange): string => `
      SELECT ${texts('h', all)} AS cells FROM ${table} h
      WHERE ${within('h', range, 2)} AND h.${on} <= $1::timestamptz AND (h.${off} IS NULL OR h.${off} > $1::timestamptz)
        AND NOT EXISTS (SELECT FROM ${rows} s WHERE ${sameKey})`,
  };
}
