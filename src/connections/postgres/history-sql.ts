import { keyIndexes, type Column, type TableMapping } from '../../change/table.ts';
import { postgresTypeOf } from '../../change/types.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';
import { exactly } from './exact-texts.ts';
import { DEFAULT_HISTORY_COLUMNS, type HistoryColumnNames } from './history-ddl.ts';
import { instantSql } from './instants.ts';

/**
 * The statements of one history table. Keys and times come as arrays, one element per key, unnested:
 * with a generic plan (see MOVE_OFFSET) the planner expects few of them and so looks each up by index,
 * at every batch size. None is named: a plan kept from when the table was small would scan it when it is
 * large, and planning costs 0.3 ms.
 */
export type HistorySql = ReturnType<typeof historySql>;

export function historySql(
  mapping: TableMapping,
  historyTable: string,
  names: HistoryColumnNames = DEFAULT_HISTORY_COLUMNS,
) {
  const on = quoteIdent(names.onDate);
  const off = quoteIdent(names.offDate);
  const active = quoteIdent(names.isActive);
  const table = quoteQualified(historyTable);
  const keys = keyIndexes(mapping).map((index) => columnAt(mapping, index));
  const others = mapping.columns.filter((column) => !mapping.key.includes(column.name));
  const all = mapping.columns.map((column) => quoteIdent(column.name));
  const k = keys.length;

  /** `unnest($1::bigint[], $2::timestamptz[], …) WITH ORDINALITY AS f(k1, …, n)`; the keys come first. */
  const given = (names: Record<string, string>, from = 1): string => {
    const types = [...keys.map(parameterType), ...Object.values(names)];
    const columns = [...keys.map((_, index) => `k${index + 1}`), ...Object.keys(names), 'n'];
    return `unnest(${types.map((type, index) => `$${from + index}::${type}[]`).join(', ')}) WITH ORDINALITY AS f(${columns.join(', ')})`;
  };
  const sameKey = (alias: string): string =>
    keys.map((column, index) => `${alias}.${quoteIdent(column.name)} = f.k${index + 1}`).join(' AND ');
  const orphanSince = (target: string): string =>
    `EXISTS (SELECT FROM deltaferry.orphan_deletes o WHERE o.target = ${target} AND o.key = f.key AND o.ts >= f.ts)`;

  const stored = others.map((column) => exactly(column, `h.${quoteIdent(column.name)}`)).join(', ');
  const wanted = others.map((_, index) => `f.c${index + 1}`).join(', ');
  const images = {
    ts: 'timestamptz',
    ...Object.fromEntries(others.map((column, index) => [`c${index + 1}`, parameterType(column)])),
  };
  const firsts = { ts: 'timestamptz', key: 'text' };
  const setOthers = others.map((column, index) => `${quoteIdent(column.name)} = f.c${index + 1}`).join(', ');

  return {
    /** Ends each key's current version at its first change's time. Params: keys…, times, key texts, target. */
    endCurrent: `
      WITH ended AS (
        UPDATE ${table} h SET ${off} = f.ts, ${active} = false FROM ${given(firsts)}
        WHERE ${sameKey('h')} AND h.${off} IS NULL AND h.${on} < f.ts
        RETURNING f.n::int AS n, ${orphanSince(`$${k + 3}`)} AS late)
      SELECT count(*)::int AS ended,
             CASE WHEN count(*) < cardinality($1) THEN array_agg(n) END AS "endedKeys",
             array_agg(n) FILTER (WHERE late) AS late
      FROM ended`,

    /** Which of the keys that had nothing to end know something at or after their first change. Same params. */
    late: `
      SELECT f.n::int AS n FROM ${given(firsts)}
      LEFT JOIN LATERAL (SELECT h.${on}, h.${off} FROM ${table} h WHERE ${sameKey('h')}
                         ORDER BY h.${on} DESC LIMIT 1) last ON true
      WHERE NOT coalesce(last.${on} < f.ts AND last.${off} < f.ts, last.${on} IS NULL)
         OR ${orphanSince(`$${k + 3}`)}`,

    /**
     * The versions that changes between two times can touch: from the newest that starts before the first
     * (its end is a delete of its own once a delete takes the next version away), to the first that starts
     * after the last. Params: keys…, first times, last times.
     */
    versions: `
      SELECT f.n::int AS n, ${instantSql(`h.${on}`)} AS "from", ${instantSql(`h.${off}`)} AS "to"
      FROM ${given({ ts: 'timestamptz', until: 'timestamptz' })}
      JOIN ${table} h ON ${sameKey('h')}
       AND h.${on} >= coalesce((SELECT max(b.${on}) FROM ${table} b WHERE ${sameKey('b')} AND b.${on} < f.ts), '-infinity')
       AND h.${on} <= coalesce((SELECT min(b.${on}) FROM ${table} b WHERE ${sameKey('b')} AND b.${on} > f.until), 'infinity')
      FOR UPDATE OF h`,

    /** Params: target, key texts, first times. */
    orphans: `
      SELECT f.n::int AS n, ${instantSql('o.ts')} AS ts
      FROM unnest($2::text[], $3::timestamptz[]) WITH ORDINALITY AS f(key, ts, n)
      JOIN deltaferry.orphan_deletes o ON o.target = $1 AND o.key = f.key AND o.ts >= f.ts`,

    /** Which of these rows are what the history already says at their time. Params: keys…, times, other columns…. */
    alreadySo: `
      SELECT f.n::int AS n FROM ${given(images)}
      JOIN LATERAL (SELECT h.* FROM ${table} h WHERE ${sameKey('h')} AND h.${on} <= f.ts
                    ORDER BY h.${on} DESC LIMIT 1) h ON h.${off} IS NULL OR h.${off} > f.ts
      WHERE ${others.length === 0 ? 'true' : `ROW(${stored}) IS NOT DISTINCT FROM ROW(${wanted})`}`,

    /** Params: keys…, starts. */
    remove: `
      DELETE FROM ${table} h USING ${given({ ts: 'timestamptz' })} WHERE ${sameKey('h')} AND h.${on} = f.ts`,

    /** Params: keys…, starts, ends (null: current again). */
    end: `
      UPDATE ${table} h SET ${off} = f.until, ${active} = f.until IS NULL
      FROM ${given({ ts: 'timestamptz', until: 'timestamptz' })} WHERE ${sameKey('h')} AND h.${on} = f.ts`,

    /** Writes only rows that differ. Params: keys…, starts, other columns…; null where the key is all there is. */
    replace:
      others.length === 0
        ? null
        : `
      UPDATE ${table} h SET ${setOthers} FROM ${given(images)}
      WHERE ${sameKey('h')} AND h.${on} = f.ts AND ROW(${stored}) IS DISTINCT FROM ROW(${wanted})`,

    /** Params: target, key texts, times. */
    addOrphans: `
      INSERT INTO deltaferry.orphan_deletes (target, key, ts)
      SELECT $1::text, f.key, f.ts FROM unnest($2::text[], $3::timestamptz[]) AS f(key, ts) ON CONFLICT DO NOTHING`,

    removeOrphans: `
      DELETE FROM deltaferry.orphan_deletes o USING unnest($2::text[], $3::timestamptz[]) AS f(key, ts)
      WHERE o.target = $1 AND o.key = f.key AND o.ts = f.ts`,

    copy: `COPY ${table} (${[...all, active, on, off].join(', ')}) FROM STDIN`,
  };
}

/** A cast to varchar(n) would cut a longer text in silence; assignment to the column refuses it. */
function parameterType({ type }: Column): string {
  switch (type.name) {
    case 'varchar':
      return 'text';
    case 'numeric':
      return 'numeric';
    default:
      return postgresTypeOf(type, quoteQualified);
  }
}

function columnAt(mapping: TableMapping, index: number): Column {
  const column = mapping.columns[index];
  if (column === undefined) throw new RangeError(`table ${mapping.name}: no column ${index}`);
  return column;
}
