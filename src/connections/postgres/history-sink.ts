import type { Pool, PoolClient } from 'pg';
import type { Change, Micros, Row } from '../../change/change.ts';
import type { TableMapping } from '../../change/table.ts';
import { FencedError } from '../../errors.ts';
import {
  HeldByLoadError,
  type AppliedBatch,
  type HistoryBatch,
  type HistorySink,
} from '../../ports/history-sink.ts';
import type { Version } from '../../scd/history.ts';
import { arrayText } from './array-text.ts';
import { COPY_NULL, copyCells, copyLines } from './copy-text.ts';
import type { PostgresWhere } from './errors.ts';
import { groupByKey, instantTexts, keyArrays, type KeyChanges } from './history-batch.ts';
import { writeLate, writeOrphans, type HistoryWriter } from './history-late.ts';
import { DEFAULT_HISTORY_COLUMNS, type HistoryColumnNames } from './history-ddl.ts';
import { blame } from './history-refusals.ts';
import { historySql } from './history-sql.ts';
import { instantOf, instantSql, instantText } from './instants.ts';
import { roleOf } from './pool.ts';
import { inTransaction } from './transaction.ts';

export interface HistorySinkOptions {
  /** Stays the caller's: one connection of it is used per batch in flight. */
  readonly pool: Pool;
  readonly group: string;
  readonly topic: string;
  readonly table: TableMapping;
  /** `schema.table` of the SCD2 table: the mapped columns and its own. */
  readonly historyTable: string;
  /** What it calls its own columns; default `on_date`, `off_date`, `is_active`. */
  readonly columns?: HistoryColumnNames | undefined;
  /** What the applying transaction calls itself (`deltaferry.origin`), so that capture does not echo it. */
  readonly origin: string;
  /** Longest wait for a lock that a person's transaction holds; default 3000. */
  readonly lockTimeoutMs?: number | undefined;
  /** `exact`: every key takes the path that late changes take. Same result, slower; for tests. */
  readonly path?: 'auto' | 'exact' | undefined;
}

const DEFAULT_LOCK_TIMEOUT_MS = 3_000;

/**
 * Applies a batch set-based: one UPDATE ends the current versions, one COPY writes the new ones. Keys
 * that know something as late as their first change take the exact path (history-late.ts).
 */
export function createHistorySink(options: HistorySinkOptions): HistorySink {
  const { pool, group, topic, table, historyTable } = options;
  const sql = historySql(table, historyTable, options.columns);
  const linesOf = versionLines(table);
  const where: PostgresWhere = {
    doing: 'applying changes',
    table: historyTable,
    role: roleOf(pool),
    columns: table.columns.map((column) => column.name),
  };
  const target = { table: historyTable, mapping: table, names: options.columns ?? DEFAULT_HISTORY_COLUMNS };
  const settings = [options.origin, String(options.lockTimeoutMs ?? DEFAULT_LOCK_TIMEOUT_MS)];

  /** First of all: who does not own the partition changes nothing. */
  async function moveOffset(
    client: PoolClient,
    { partition, expected, next }: HistoryBatch,
  ): Promise<FilledRow> {
    const moved = await client.query<FilledRow>({
      ...MOVE_OFFSET,
      values: [group, topic, partition, expected, next, ...settings],
    });
    if (moved.rows[0] !== undefined) return moved.rows[0];
    const { rows } = await client.query<{ load: string | null }>(HELD_BY, [group, topic, partition]);
    const load = rows[0]?.load ?? null;
    if (load !== null) throw new HeldByLoadError(load, `Partition ${partition} of ${topic}`);
    throw new FencedError({
      code: 'OFFSET_MOVED',
      message: `Partition ${partition} of ${topic} is not at offset ${expected} for group ${group}: another replica applies it.`,
    });
  }

  async function write(writer: HistoryWriter, keys: readonly KeyChanges[]): Promise<AppliedBatch> {
    const needsExact = (change: KeyChanges): boolean => options.path === 'exact' || change.asserts;
    const exact = keys.filter(needsExact);
    const setBased = keys.filter((change) => !needsExact(change));
    const ending = endCurrent(writer, setBased);
    let lines: Map<KeyChanges, string>;
    try {
      // While the server works.
      lines = new Map(setBased.map((change) => [change, linesOf(change.alone.versions)]));
    } finally {
      // Whatever becomes of the lines, the connection is in use until then.
      await ending.catch(() => {});
    }
    const { ended, endedNothing, late } = await ending;

    for (const change of late) lines.delete(change);
    const orphans = Array.from(lines.keys()).flatMap((change) =>
      orphansOf(change, endedNothing.has(change)).map((edit) => ({ change, edit })),
    );
    await writeOrphans(writer.client, sql.addOrphans, historyTable, orphans);
    const written = await writeLate(writer, [...exact, ...late]);
    const inserts = [...lines.values(), linesOf(written.inserts)];
    return {
      versionsInserted: await copyLines(writer.client, sql.copy, inserts),
      versionsEnded: ended + written.ended,
      lateKeys: exact.length + late.length,
    };
  }

  return {
    async claim(partitions, startAt) {
      const starts = partitions.map((partition) => startAt(partition).toString());
      return await inTransaction(pool, { ...where, doing: 'claiming partitions' }, async (client) => {
        await client.query(CLAIM, [group, topic, partitions, starts]);
        const rows = await client.query<{ partition: number; next: string }>(POSITIONS, [
          group,
          topic,
          partitions,
        ]);
        return new Map(rows.rows.map(({ partition, next }) => [partition, BigInt(next)]));
      });
    },

    async apply(batch) {
      const keys = groupByKey(batch.changes, table);
      const applied = inTransaction(pool, where, async (client) => {
        const news = notYetBrought(batch.changes, await moveOffset(client, batch));
        const left = news.length === batch.changes.length ? keys : groupByKey(news, table);
        return await write({ client, sql, mapping: table, target: historyTable }, left);
      });
      return await applied.catch(async (error: unknown) => {
        throw await blame(pool, target, error);
      });
    },

    async close() {
      // The pool belongs to whoever opened it, and nothing else is held.
    },
  };
}

/** The settings last as long as the transaction; history-sql.ts says why the plans are to be generic. */
const MOVE_OFFSET = {
  name: 'deltaferry_move_offset',
  text: `UPDATE deltaferry.offsets SET next_offset = $5, updated_at = now()
         WHERE group_id = $1 AND topic = $2 AND partition = $3 AND next_offset = $4 AND held_by IS NULL
         RETURNING set_config('deltaferry.origin', $6, true), set_config('lock_timeout', $7, true),
                   set_config('plan_cache_mode', 'force_generic_plan', true),
                   filled_version AS version, ${instantSql('filled_at')} AS ts`,
};

/** The version that a load has filled a captured table with; both null where none has. */
interface FilledRow {
  readonly version: string | null;
  readonly ts: string | null;
}

/**
 * Leaves out what a load has brought into a captured table, though the topic holds it: people may have changed it
 * since, in place, or deleted it. Delta's changes alone (`tx` is null) have versions as positions.
 */
function notYetBrought(changes: readonly Change[], { version, ts }: FilledRow): readonly Change[] {
  if (version === null || ts === null) return changes;
  const [last, at] = [Number(version), instantOf(ts)];
  return changes.filter((change) => change.tx !== null || change.position > last || change.ts > at);
}

const HELD_BY = `
  SELECT held_by AS load FROM deltaferry.offsets WHERE group_id = $1 AND topic = $2 AND partition = $3`;

const CLAIM = `
  INSERT INTO deltaferry.offsets (group_id, topic, partition, next_offset)
  SELECT $1, $2, partition, start FROM unnest($3::int[], $4::bigint[]) AS given(partition, start)
  ON CONFLICT DO NOTHING`;

const POSITIONS = `
  SELECT partition, next_offset AS next FROM deltaferry.offsets
  WHERE group_id = $1 AND topic = $2 AND partition = ANY ($3::int[])`;

interface Ended {
  readonly ended: number;
  /** Keys that had no current version from before their first change. */
  readonly endedNothing: ReadonlySet<KeyChanges>;
  readonly late: readonly KeyChanges[];
}

async function endCurrent(
  { client, sql, mapping, target }: HistoryWriter,
  keys: readonly KeyChanges[],
): Promise<Ended> {
  if (keys.length === 0) return { ended: 0, endedNothing: new Set(), late: [] };
  const params = (some: readonly KeyChanges[]): unknown[] => [
    ...keyArrays(some, mapping.key.length),
    instantTexts(some.map((change) => change.first)),
    arrayText(some.map((change) => change.key)),
    target,
  ];
  const answer = await client.query<{ ended: number; endedKeys: number[] | null; late: number[] | null }>(
    sql.endCurrent,
    params(keys),
  );
  const { ended = 0, endedKeys = null, late = null } = answer.rows[0] ?? {};
  const done = new Set(endedKeys);
  const rest = ended === keys.length ? [] : keys.filter((_, index) => !done.has(index + 1));
  const lateRest = rest.length === 0 ? [] : (await client.query<{ n: number }>(sql.late, params(rest))).rows;
  return {
    ended,
    endedNothing: new Set(rest),
    late: [
      ...nth(keys, late ?? []),
      ...nth(
        rest,
        lateRest.map(({ n }) => n),
      ),
    ],
  };
}

/** Ordinals as Postgres counts them, from 1. */
function nth<T>(items: readonly T[], ordinals: readonly number[]): T[] {
  return ordinals.flatMap((n) => items[n - 1] ?? []);
}

/** The deletes that end no version; the first of them does if there was a version to end. */
function orphansOf(change: KeyChanges, endedNothing: boolean): readonly Micros[] {
  const { orphanDeletes } = change.alone;
  return endedNothing || orphanDeletes[0] !== change.first ? orphanDeletes : orphanDeletes.slice(1);
}

/** Lines for COPY, one string per call. */
export function versionLines(table: TableMapping): (versions: readonly Version<Row>[]) => string {
  const cells = copyCells(table.columns);
  return (versions) => {
    let lines = '';
    for (const { from, to, image } of versions)
      lines += `${cells(image)}\t${to === null ? 't' : 'f'}\t${instantText(from)}\t${to === null ? COPY_NULL : instantText(to)}\n`;
    return lines;
  };
}
