import type { Pool } from 'pg';
import { earlierOf, SEES_NOTHING, snapshotParts } from '../../flow/log-position.ts';
import type { LogFacts, Snapshot } from '../../ports/postgres-log.ts';
import { PARTITION_IDS, PARTITIONS_AHEAD, partitionRange } from './capture-ddl.ts';
import { logPartitions } from './log-partitions.ts';

export interface LogUpkeepOptions {
  readonly pool: Pool;
  /** The table's name in the configuration. */
  readonly table: string;
}

/** Each takes a moment for which writers wait. */
const DROPPED_AT_ONCE = 8;

/**
 * Keeps the partitions of a log in order: makes ranges ahead, empties the default partition, and drops ranges
 * that stopped receiving once everything in them is acknowledged. A step whose lock is not to be had within
 * 50 ms is left for the next time: writers must neither wait for it nor fail of it.
 */
export function createLogUpkeep({
  pool,
  table,
}: LogUpkeepOptions): (acknowledged: Snapshot) => Promise<Omit<LogFacts, 'oldestTransactionMs'>> {
  const partitions = logPartitions(pool, table);
  /** Ranges whose ids have all been handed out → whoever got one is in this snapshot, or has ended. */
  const handedOut = new Map<bigint, Snapshot>();
  /** Of these: those whose room was given back, and that only wait to be dropped. */
  const emptied = new Set<bigint>();

  /** Another replica may have dropped ranges, or we without hearing of it. */
  function forgetGone(ranges: readonly bigint[]): void {
    for (const n of handedOut.keys()) if (!ranges.includes(n)) forget(n);
  }

  function forget(n: bigint): void {
    handedOut.delete(n);
    emptied.delete(n);
  }

  async function noteHandedOut(ranges: readonly bigint[], nextId: bigint): Promise<void> {
    const fresh = ranges.filter((n) => !handedOut.has(n) && partitionRange(n)[1] <= nextId);
    if (fresh.length === 0) return;
    // Taken after the sequence was read: a snapshot from before it could miss a writer.
    const snapshot = await partitions.snapshot();
    for (const n of fresh) handedOut.set(n, snapshot);
  }

  async function dropAcknowledged(acknowledged: Snapshot): Promise<void> {
    const { xmin } = snapshotParts(acknowledged);
    const done = [...handedOut].filter(([, snapshot]) => xmin >= snapshotParts(snapshot).xmax);
    const ranges = done.slice(0, DROPPED_AT_ONCE).map(([n]) => n);
    if (ranges.length === 0) return;
    // The disk is free again also where long transactions keep the log from ever being locked.
    for (const n of ranges) if (!emptied.has(n) && (await partitions.empty(n, acknowledged))) emptied.add(n);
    for (const n of await partitions.drop(ranges, acknowledged)) forget(n);
  }

  return async (acknowledged) => {
    const dispensable = await withoutLoads(pool, table, acknowledged);
    const { ranges, restIsEmpty } = await partitions.list();
    forgetGone(ranges);
    const nextId = await partitions.nextId();
    await noteHandedOut(ranges, nextId);
    const missing = aheadOf(nextId).filter((n) => !ranges.includes(n));
    if (missing.length > 0 || !restIsEmpty) await partitions.makeRanges(missing, dispensable);
    await dropAcknowledged(dispensable);
    return partitions.size();
  };
}

/**
 * A load of the table looks up which keys were changed since its log position: what of the log is not within that is
 * kept as long as the load is under way. A load chooses its position after its row has been committed, so one that
 * is not seen here chooses it after `acknowledged`.
 */
async function withoutLoads(pool: Pool, table: string, acknowledged: Snapshot): Promise<Snapshot> {
  const { rows } = await pool.query<{ position: Snapshot | null }>(
    `SELECT log_position::text AS position FROM deltaferry.loads
     WHERE name = $1 AND captured AND source = 'delta' AND phase IN ('snapshot', 'handover')`,
    [table],
  );
  return rows.reduce((kept, { position }) => earlierOf(kept, position ?? SEES_NOTHING), acknowledged);
}

/** The range of the next id, and those after it. */
function aheadOf(nextId: bigint): bigint[] {
  return Array.from({ length: PARTITIONS_AHEAD }, (_, ahead) => nextId / PARTITION_IDS + BigInt(ahead));
}
