import type { TableMapping } from '../../change/table.ts';
import { postgresTypeOf } from '../../change/types.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';
import type { HistoryColumnNames } from './history-ddl.ts';

/** The statements of table-pieces.ts. */
export function tablePiecesSql({
  table,
  mapping,
  history,
}: {
  readonly table: string;
  readonly mapping: TableMapping;
  readonly history: Pick<HistoryColumnNames, 'offDate'> | null;
}) {
  const from = quoteQualified(table);
  const key = mapping.key.map((name) => quoteIdent(name));
  const columns = mapping.columns.map(({ name }) => quoteIdent(name)).join(', ');
  const off = history === null ? null : quoteIdent(history.offDate);
  // As capture has it: an open end may also be written as infinity.
  const current = off === null ? 'true' : `(${off} IS NULL OR ${off} = 'infinity'::timestamptz)`;
  const types = mapping.key.map((name) => {
    const { type } = mapping.columns.find((column) => column.name === name)!;
    // A cast to varchar(n) could cut.
    return type.name === 'varchar' ? 'text' : postgresTypeOf(type, quoteQualified);
  });
  const bound = (setting: string): string =>
    `ROW(${types.map((type, index) => `(current_setting('deltaferry.${setting}')::json->>${index})::${type}`).join(', ')})`;

  return {
    count: `
      SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS ts, count(*) AS n FROM ${from}
      WHERE ${current}`,

    /** Bytes of a row as text, by the first that are found; null where there is none. */
    width: `SELECT avg(octet_length(r::text))::float8 AS bytes FROM (SELECT ${columns} FROM ${from} LIMIT 500) AS r`,

    /** Every n-th key ($1). Any keys would do, so these come from what an index of the current versions holds. */
    bounds: `
      SELECT ARRAY[${key.map((_, index) => `k${index}::text`).join(', ')}] AS key
      FROM (SELECT ${key.map((name, index) => `${name} AS k${index}`).join(', ')},
                   row_number() OVER (ORDER BY ${key.join(', ')}) AS n FROM ${from}
            WHERE ${off === null ? 'true' : `${off} IS NULL`}) AS numbered
      WHERE n % $1 = 0 ORDER BY n`,

    copy: (range: { readonly after: boolean; readonly upTo: boolean }): string =>
      `COPY (SELECT ${columns} FROM ${from} WHERE ${[
        current,
        ...(range.after ? [`ROW(${key.join(', ')}) > ${bound('after')}`] : []),
        ...(range.upTo ? [`ROW(${key.join(', ')}) <= ${bound('up_to')}`] : []),
      ].join(' AND ')} ORDER BY ${key.join(', ')}) TO STDOUT`,
  };
}
