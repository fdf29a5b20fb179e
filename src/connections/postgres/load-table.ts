import type { Pool } from 'pg';
import type { Row } from '../../change/change.ts';
import type { TableMapping } from '../../change/table.ts';
import { FencedError, OperatorError } from '../../errors.ts';
import type { Load, LoadHandover, LoadTable } from '../../ports/load.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';
import { copyCells, copyLines } from './copy-text.ts';
import type { PostgresWhere } from './errors.ts';
import { DEFAULT_HISTORY_COLUMNS, type HistoryColumnNames } from './history-ddl.ts';
import { instantText } from './instants.ts';
import { dropLoadTable, loadTableNames } from './load-table-ddl.ts';
import { checkEmpty, notUnderWay, phased, RELEASE } from './loads.ts';
import { inTransaction } from './transaction.ts';

/** The rows of one load beside its target. The pool stays the caller's; one connection of it per batch in flight. */
export function createLoadTableSink(pool: Pool, load: Load, mapping: TableMapping): LoadTable {
  const { rows, progress } = loadTableNames(load.id);
  const columns = mapping.columns.map(({ name }) => quoteIdent(name)).join(', ');
  const copy = `COPY ${rows} (${columns}) FROM STDIN`;
  const linesOf = copyText(mapping);
  const where: PostgresWhere = { doing: 'loading rows', table: load.target };

  return {
    claim: () =>
      inTransaction(pool, { ...where, doing: 'looking how far the load is' }, async (client) => {
        await client.query(
          `INSERT INTO ${progress} (partition, next_offset)
           SELECT n - 1, start FROM unnest($1::bigint[]) WITH ORDINALITY AS given(start, n) ON CONFLICT DO NOTHING`,
          [(load.startOffsets ?? []).map(String)],
        );
        const found = await client.query<{ partition: number; next: string }>(
          `SELECT partition, next_offset AS next FROM ${progress}`,
        );
        return new Map(found.rows.map(({ partition, next }) => [partition, BigInt(next)]));
      }),

    append: ({ partition, expected, next, rows }) =>
      inTransaction(pool, where, async (client) => {
        const moved = await client.query(
          `UPDATE ${progress} SET next_offset = $3, rows = rows + $4 WHERE partition = $1 AND next_offset = $2`,
          [partition, expected, next, rows.length],
        );
        if (moved.rowCount !== 1)
          throw new FencedError({
            code: 'OFFSET_MOVED',
            message: `Partition ${partition} of ${load.topic} is not at offset ${expected} for the load ${load.id}: another process loads it.`,
          });
        await copyLines(client, copy, linesOf(rows));
      }),

    rows: () =>
      inTransaction(pool, where, async (client) => {
        const sum = await client.query<{ rows: string | null }>(`SELECT sum(rows) AS rows FROM ${progress}`);
        return Number(sum.rows[0]?.rows ?? 0);
      }),
  };
}

function copyText(mapping: TableMapping): (rows: readonly Row[]) => Generator<string, void> {
  const cells = copyCells(mapping.columns);
  return function* lines(rows) {
    for (const row of rows) yield `${cells(row)}\n`;
  };
}

export interface LoadHandoverOptions {
  readonly pool: Pool;
  readonly mapping: TableMapping;
  /** What the target calls its own columns. */
  readonly columns?: HistoryColumnNames | undefined;
  /** What the transaction calls itself (`deltaferry.origin`), so that capture does not echo it. */
  readonly origin: string;
}

/**
 * The rows are inserted into the target itself, in the order of its key (each index then grows at its end).
 * A table built aside and renamed would be quicker by that one write, but would not be the user's table: views,
 * foreign keys, publications, policies and triggers hang on the table, not on its name.
 */
export function createLoadHandover(options: LoadHandoverOptions): LoadHandover {
  const { pool, mapping, origin } = options;
  const names = options.columns ?? DEFAULT_HISTORY_COLUMNS;
  const key = mapping.key.map((name) => quoteIdent(name)).join(', ');
  const columns = mapping.columns.map(({ name }) => quoteIdent(name)).join(', ');
  const own = [names.isActive, names.onDate].map((name) => quoteIdent(name)).join(', ');

  async function insert(load: Load): Promise<void> {
    const target = quoteQualified(load.target);
    const { rows } = loadTableNames(load.id);
    const ts = load.pinned === null ? null : instantText(load.pinned.ts);
    await inTransaction(
      pool,
      { doing: 'moving the load into its table', table: load.target },
      async (client) => {
        await client.query(SETTINGS, [origin]);
        const ended = await client.query(phased('handed-over', FINISH), [load.id]);
        if (ended.rowCount !== 1) {
          const { rows: found } = await client.query<{ phase: string }>(PHASE, [load.id]);
          if (found[0]?.phase === 'live') return;
          throw notUnderWay(load.id);
        }
        await client.query(`LOCK TABLE ${target} IN SHARE ROW EXCLUSIVE MODE`);
        await checkEmpty(client, load.target);
        const inserted = await client.query(
          `INSERT INTO ${target} (${columns}, ${own}) SELECT ${columns}, true, $1::timestamptz FROM ${rows} ORDER BY ${key}`,
          [ts],
        );
        if (inserted.rowCount !== load.publishedRows)
          throw new OperatorError({
            code: 'LOAD_INCOMPLETE',
            message: `The load ${load.id} published ${load.publishedRows} rows, but ${inserted.rowCount} came from topic ${load.topic}.`,
            remedy: `Find what deletes records of ${load.topic} (it must be compacted only, never deleted from), then \`deltaferry backfill ${load.name} --restart\`.`,
          });
        await client.query(RELEASE, [load.id]);
        await dropLoadTable(client, load.id);
      },
    );
  }

  /** Up to five keys that the snapshot holds more than once. */
  async function twice(load: Load): Promise<readonly string[]> {
    const { rows } = loadTableNames(load.id);
    const found = await pool.query<{ key: string }>(
      `SELECT concat_ws(', ', ${key}) AS key FROM ${rows} GROUP BY ${key} HAVING count(*) > 1 LIMIT 5`,
    );
    return found.rows.map((row) => row.key);
  }

  return {
    async handOver(load) {
      try {
        await insert(load);
      } catch (error) {
        if ((error as { code?: string }).code !== 'POSTGRES_23505') throw error;
        const keys = await twice(load);
        if (keys.length === 0) throw error;
        throw new OperatorError({
          code: 'LOAD_DUPLICATE_KEYS',
          message: `The Delta table of ${load.name} holds several rows of one key, for instance of ${keys.join(' and ')}.`,
          remedy: `Leave one row of each key in the Delta table, then \`deltaferry backfill ${load.name} --restart\`.`,
        });
      }
    },
  };
}

const SETTINGS = `
  SELECT set_config('deltaferry.origin', $1, true), set_config('work_mem', '256MB', true),
         set_config('lock_timeout', '60s', true)`;

const FINISH = `UPDATE deltaferry.loads SET phase = 'live', finished_at = now(), error = NULL, applied_rows = published_rows WHERE id = $1`;

const PHASE = 'SELECT phase FROM deltaferry.loads WHERE id = $1';
