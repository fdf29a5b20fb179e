import type { Pool, PoolClient } from 'pg';
import type { Change, Row } from '../../change/change.ts';
import { keyOf } from '../../change/key.ts';
import { postgresParserFor } from '../../change/postgres-text.ts';
import type { TableMapping } from '../../change/table.ts';
import type { Load, Reconciled } from '../../ports/load.ts';
import { copyLines } from './copy-text.ts';
import { groupByKey } from './history-batch.ts';
import type { HistoryColumnNames } from './history-ddl.ts';
import { writeLate } from './history-late.ts';
import { historySql } from './history-sql.ts';
import { versionLines } from './history-sink.ts';
import { instantText } from './instants.ts';
import { checkComplete } from './load-refusals.ts';
import { reconcileSql, type KeyRange } from './load-reconcile-sql.ts';
import { loadTableNames } from './load-table-ddl.ts';
import { inTransaction } from './transaction.ts';

export interface ReconcileOptions {
  readonly pool: Pool;
  readonly mapping: TableMapping;
  readonly columns?: HistoryColumnNames | undefined;
  readonly origin: string;
  readonly consumers: { readonly group: string; readonly topic: string };
  /** So many keys of the load in a transaction, which consumers wait for; default 20,000. */
  readonly keysPerRange?: number | undefined;
}

const KEYS_PER_RANGE = 20_000;

/**
 * Goes through a load's keys in order, a range at a time. Keys that the target has nothing of are inserted
 * by one statement; the others are compared there, and what differs takes the same way as a late change.
 */
export function createReconcile(
  options: ReconcileOptions,
): (load: Load, onDone: (rows: number) => void, signal: AbortSignal) => Promise<Reconciled> {
  const { pool, mapping, origin, consumers, keysPerRange = KEYS_PER_RANGE } = options;
  const key = keyOf(mapping);
  const parsers = mapping.columns.map(({ type, name }) => postgresParserFor(type, name));
  const linesOf = versionLines(mapping);

  function rowOf(texts: readonly (string | null)[]): Row {
    return texts.map((text, index) => (text === null ? null : parsers[index]!(text)));
  }

  function changeOf(load: Load, op: 'snapshot' | 'delete', row: Row): Change {
    return {
      op,
      key: key(row),
      before: null,
      after: op === 'delete' ? null : row,
      origin,
      table: mapping.name,
      position: load.pinned!.version,
      ts: load.pinned!.ts,
      tx: null,
      load: load.id,
    };
  }

  return async (load, onDone, signal) => {
    const { rows } = loadTableNames(load.id);
    const sql = reconcileSql({ mapping, names: options.columns, target: load.target, rows });
    const writer = { sql: historySql(mapping, load.target, options.columns), mapping, target: load.target };
    const ts = instantText(load.pinned!.ts);
    const where = (doing: string) => ({ doing, table: load.target });
    const total = { added: 0, corrected: 0, ended: 0 };

    async function apply(client: PoolClient, range: KeyRange): Promise<void> {
      await client.query(SETTINGS, [origin]);
      // No batch of a consumer is in between: what is compared here is what is changed.
      await client.query(LOCK_CONSUMERS, [consumers.group, consumers.topic]);
      const added = await client.query(sql.add(range), [ts, load.target, ...range.values]);
      const wrong = await client.query<{ cells: (string | null)[] }>(sql.different(range), [
        ts,
        ...range.values,
      ]);
      const gone = await client.query<{ cells: (string | null)[] }>(sql.absent(range), [ts, ...range.values]);
      const changes = [
        ...wrong.rows.map(({ cells }) => changeOf(load, 'snapshot', rowOf(cells))),
        ...gone.rows.map(({ cells }) => changeOf(load, 'delete', rowOf(cells))),
      ];
      if (changes.length > 0) {
        const { inserts } = await writeLate({ ...writer, client }, groupByKey(changes, mapping));
        await copyLines(
          client,
          writer.sql.copy,
          [linesOf(inserts)].filter((text) => text !== ''),
        );
      }
      total.added += added.rowCount ?? 0;
      total.corrected += wrong.rows.length;
      total.ended += gone.rows.length;
    }

    await inTransaction(pool, where('preparing the comparison'), async (client) => {
      await client.query(SETTINGS, [origin]);
      const count = await client.query<{ n: string }>(`SELECT count(*) AS n FROM ${rows}`);
      checkComplete(load, Number(count.rows[0]?.n));
      await client.query(sql.index);
      await client.query(`ANALYZE ${rows}`);
    });
    let done = 0;
    for (let after: readonly string[] | null = null; ;) {
      signal.throwIfAborted();
      const upTo = await nextKey(pool, sql, after, keysPerRange);
      await inTransaction(pool, where('comparing the load with its table'), (client) =>
        apply(client, sql.range(after, upTo)),
      );
      if (upTo === null) return total;
      done += keysPerRange;
      onDone(Math.min(done, load.publishedRows));
      after = upTo;
    }
  };
}

/** The last key of the next range; null where it is the last range. */
async function nextKey(
  pool: Pool,
  sql: ReturnType<typeof reconcileSql>,
  after: readonly string[] | null,
  keys: number,
): Promise<readonly string[] | null> {
  const range = sql.range(after, null);
  return await inTransaction(pool, { doing: 'looking for the next keys of the load' }, async (client) => {
    const found = await client.query<{ key: string[] }>(sql.keyAt(range, keys), [...range.values]);
    return found.rows[0]?.key ?? null;
  });
}

const SETTINGS = `
  SELECT set_config('deltaferry.origin', $1, true), set_config('lock_timeout', '60s', true),
         set_config('maintenance_work_mem', '256MB', true)`;

const LOCK_CONSUMERS = `
  SELECT FROM deltaferry.offsets WHERE group_id = $1 AND topic = $2 ORDER BY partition FOR UPDATE`;
