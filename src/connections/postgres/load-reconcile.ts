import type { Pool, PoolClient } from 'pg';
import type { Change, Row, Value } from '../../change/change.ts';
import { keyOf } from '../../change/key.ts';
import { postgresParserFor } from '../../change/postgres-text.ts';
import { keyIndexes, type TableMapping } from '../../change/table.ts';
import { DeltaferryError, TransientError } from '../../errors.ts';
import { sleep } from '../../flow/sleep.ts';
import type { Load, OnCompared, Reconciled } from '../../ports/load.ts';
import { copyLines } from './copy-text.ts';
import { groupByKey } from './history-batch.ts';
import type { HistoryColumnNames } from './history-ddl.ts';
import { writeLate } from './history-late.ts';
import { historySql } from './history-sql.ts';
import { versionLines } from './history-sink.ts';
import { instantText } from './instants.ts';
import { openLoadEdits } from './load-edits.ts';
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
  /** So many keys at most in a transaction, which consumers wait for; default 20,000. */
  readonly keysPerRange?: number | undefined;
  /** So many bytes of the load's rows at most, or one row; default 8 MiB. */
  readonly bytesPerRange?: number | undefined;
  /** For tests: called in the transaction of a range of a captured table, before it is compared. */
  readonly onLooked?: (() => Promise<void>) | undefined;
}

const KEYS_PER_RANGE = 20_000;
const BYTES_PER_RANGE = 8 * 1024 * 1024;
/** How long a range of a captured table waits for rows that people are writing, before it is left for later. */
const PATIENCE_MS = 200;
const LATER_MS = 300;
/** So often in a row somebody else may have inserted the same key at the same moment. */
const MOST_COLLISIONS = 20;

/** A range of keys by both its ends; null: open. */
interface Span {
  readonly after: readonly string[] | null;
  readonly upTo: readonly string[] | null;
}

/** How far one load is, in this process. */
interface Walk {
  readonly load: string;
  readonly total: { added: number; corrected: number; ended: number };
  /** So many of the load's keys are behind it. */
  compared: number;
  /** Behind this the next range begins; undefined: there is none. */
  after: Span['after'] | undefined;
  /** Somebody was in the way of these. */
  readonly later: Span[];
}

/**
 * Goes through a load's keys in order, a range at a time. Keys that the target has nothing of are inserted
 * by one statement; the others are compared there, and what differs takes the same way as a late change. Where rows of
 * the load were set aside nothing ends for being absent. A range is cut where more keys of the target are absent than it
 * may have. Called again for the same load, after a connection broke say, it goes on where it was.
 *
 * Of a captured table, keys that people have changed since the load's log position are left alone: what they wrote
 * is published, and Delta follows it. That holds for whatever they are writing at the same moment because the log is
 * looked at again after a range has been written and before it is committed. Who changed a current version and
 * committed before this transaction wrote that key is in the log by then: the range is undone, and done again without
 * the key. Who changes it later waits for this transaction, by the row or by the unique index of current versions,
 * and so changes what the load left there. What a range writes of other than current versions is not what is captured.
 * A range that has to wait for somebody is left for later: his transaction may take as long as it likes.
 */
export function createReconcile(
  options: ReconcileOptions,
): (load: Load, onDone: OnCompared, signal: AbortSignal) => Promise<Reconciled> {
  const { pool, mapping, origin, consumers, keysPerRange = KEYS_PER_RANGE } = options;
  const bytesPerRange = options.bytesPerRange ?? BYTES_PER_RANGE;
  const key = keyOf(mapping);
  const parsers = mapping.columns.map(({ type, name }) => postgresParserFor(type, name));
  const keyPlaces = keyIndexes(mapping);
  const linesOf = versionLines(mapping);
  let walk: Walk | undefined;

  function rowOf(texts: readonly (string | null)[]): Row {
    return texts.map((text, index) => (text === null ? null : parsers[index]!(text)));
  }

  /** Nothing but the key: what a row that ends holds need not be anything that Delta could. */
  function keyRow(texts: readonly string[]): Row {
    const row: Value[] = parsers.map(() => null);
    texts.forEach((text, at) => (row[keyPlaces[at]!] = parsers[keyPlaces[at]!]!(text)));
    return row;
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
    const edits = load.captured ? await openLoadEdits(pool, load) : null;
    const names = options.columns;
    const sql = reconcileSql({ mapping, names, target: load.target, rows, edited: edits?.table });
    const writer = { sql: historySql(mapping, load.target, names), mapping, target: load.target };
    const ts = instantText(load.pinned!.ts);
    const where = (doing: string) => ({
      doing,
      table: load.target,
      columns: mapping.columns.map(({ name }) => name),
    });

    /** Answers as well where the range was cut, if it was. */
    async function apply(
      client: PoolClient,
      { after, upTo }: Span,
    ): Promise<Reconciled & { readonly upTo: Span['upTo'] }> {
      await client.query(SETTINGS, [origin]);
      // No batch of a consumer is in between: what is compared here is what is changed.
      await client.query(LOCK_CONSUMERS, [consumers.group, consumers.topic]);
      if (edits !== null) {
        await client.query(`SET LOCAL lock_timeout = ${PATIENCE_MS}`);
        await edits.note();
        await options.onLooked?.();
      }
      const whole = sql.range(after, upTo);
      // A key that the load lacks may be that of a row which was set aside: Delta has it.
      const gone =
        load.rejectedRows > 0
          ? []
          : (await client.query<Absent>(sql.absent(whole, keysPerRange), [ts, ...whole.values])).rows;
      const end = gone.length < keysPerRange ? upTo : gone.at(-1)!.cells;
      const range: KeyRange = sql.range(after, end);
      const added = await client.query(sql.add(range), [ts, load.target, ...range.values]);
      const wrong = await client.query<Different>(sql.different(range), [ts, ...range.values]);
      const changes = [
        ...wrong.rows.map(({ cells }) => changeOf(load, 'snapshot', rowOf(cells))),
        ...gone.map(({ cells }) => changeOf(load, 'delete', keyRow(cells))),
      ];
      if (changes.length > 0) {
        const { inserts } = await writeLate({ ...writer, client }, groupByKey(changes, mapping));
        await copyLines(
          client,
          writer.sql.copy,
          [linesOf(inserts)].filter((text) => text !== ''),
        );
      }
      const done = {
        added: added.rowCount ?? 0,
        corrected: wrong.rows.length,
        ended: gone.length,
        upTo: end,
      };
      if (edits !== null && done.added + changes.length > 0) {
        await edits.note();
        const keys = [...wrong.rows, ...gone].map((row) => row.key);
        const answer = await client.query<{ found: boolean }>(sql.writtenAndEdited(range), [
          keys,
          ...range.values,
        ]);
        if (answer.rows[0]?.found !== false) throw editedMeanwhile(load);
      }
      return done;
    }

    if (walk?.load !== load.id) walk = begun(load.id);
    const { total, later } = walk;
    let collisions = 0;

    /** Leaves for later what somebody is in the way of. */
    async function compare(span: Span): Promise<void> {
      for (let left = span; ;) {
        signal.throwIfAborted();
        try {
          const done = await inTransaction(pool, where('comparing the load with its table'), (client) =>
            apply(client, left),
          );
          total.added += done.added;
          total.corrected += done.corrected;
          total.ended += done.ended;
          collisions = 0;
          if (done.upTo === left.upTo) return;
          left = { after: done.upTo, upTo: left.upTo };
        } catch (error) {
          if (!(error instanceof DeltaferryError) || !PEOPLE_WRITE.has(error.code)) throw error;
          // An index of theirs that the load runs into would do so for ever.
          if (error.code === COLLISION && ++collisions > MOST_COLLISIONS) throw error;
          later.push(left);
          return;
        }
      }
    }

    await inTransaction(pool, where('preparing the comparison'), async (client) => {
      await client.query(SETTINGS, [origin]);
      const count = await client.query<{ n: string }>(`SELECT count(*) AS n FROM ${rows}`);
      checkComplete(load, Number(count.rows[0]?.n));
      await client.query(sql.index);
      await client.query(`ANALYZE ${rows}`);
    });
    while (walk.after !== undefined) {
      const { after } = walk;
      const next = await nextKey(
        pool,
        sql.lastKey(sql.range(after, null), keysPerRange, bytesPerRange),
        after,
      );
      await compare({ after, upTo: next?.key ?? null });
      walk.after = next?.key;
      walk.compared += Number(next?.n ?? 0);
      onDone(Math.min(walk.compared, load.publishedRows), later.length);
    }
    while (later.length > 0) {
      onDone(load.publishedRows, later.length);
      await sleep(LATER_MS, signal);
      for (let round = later.length; round > 0; round -= 1) {
        await compare(later[0]!);
        later.shift();
      }
    }
    onDone(load.publishedRows, 0);
    return total;
  };
}

const begun = (load: string): Walk => ({
  load,
  total: { added: 0, corrected: 0, ended: 0 },
  compared: 0,
  after: null,
  later: [],
});

interface Different {
  readonly cells: (string | null)[];
  /** As the log names it. */
  readonly key: string;
}

interface Absent extends Different {
  /** Of the key's columns alone. */
  readonly cells: string[];
}

const COLLISION = 'POSTGRES_23505';
const EDITED = 'LOAD_KEYS_EDITED';
/** Somebody holds a lock, inserts the same key, or did so a moment ago. */
const PEOPLE_WRITE: ReadonlySet<string> = new Set([
  'POSTGRES_55P03',
  'POSTGRES_40P01',
  'POSTGRES_40001',
  COLLISION,
  EDITED,
]);

function editedMeanwhile({ target }: Load): TransientError {
  return new TransientError({
    code: EDITED,
    message: `Keys of ${target} were changed while they were compared with the load.`,
  });
}

/** The last key of the next range, and how many it has; undefined where it is the last range. */
async function nextKey(
  pool: Pool,
  sql: string,
  after: readonly string[] | null,
): Promise<{ readonly key: string[]; readonly n: string } | undefined> {
  return await inTransaction(pool, { doing: 'looking for the next keys of the load' }, async (client) => {
    const found = await client.query<{ key: string[]; n: string }>(sql, [...(after ?? [])]);
    return found.rows[0];
  });
}

const SETTINGS = `
  SELECT set_config('deltaferry.origin', $1, true), set_config('lock_timeout', '60s', true),
         set_config('maintenance_work_mem', '256MB', true)`;

const LOCK_CONSUMERS = `
  SELECT FROM deltaferry.offsets WHERE group_id = $1 AND topic = $2 ORDER BY partition FOR UPDATE`;
