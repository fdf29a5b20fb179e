import type { Pool } from 'pg';
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

  async function noteHandedOut(ranges: readonly bigint[], nextId: bigint): Promise<void> {
    const fresh = ranges.filter((n) => !handedOut.has(n) && partitionRange(n)[1] <= nextId);
    if (fresh.length === 0) return;
    // Taken after the sequence was read: a snapshot from before it could miss a writer.
    const snapshot = await partitions.snapshot();
    for (const n of fresh) handedOut.set(n, snapshot);
  }

  async function dropAcknowledged(acknowledged: Snapshot): Promise<void> {
    const done = [...handedOut].filter(([, snapshot]) => xmin(acknowledged) >= xmax(snapshot));
    const ranges = done.slice(0, DROPPED_AT_ONCE).map(([n]) => n);
    if (ranges.length === 0) return;
    // The disk is free again also where long transactions keep the log from ever being locked.
    for (const n of ranges) if (!emptied.has(n) && (await partitions.empty(n, acknowledged))) emptied.add(n);
    for (const n of await partitions.drop(ranges, acknowledged)) {
      handedOut.delete(n);
      emptied.delete(n);
    }
  }

  return async (acknowledged) => {
    const { ranges, restIsEmpty } = await partitions.list();
    const nextId = await partitions.nextId();
    await noteHandedOut(ranges, nextId);
    const missing = aheadOf(nextId).filter((n) => !ranges.includes(n));
    if (missing.length > 0 || !restIsEmpty) await partitions.makeRanges(missing, acknowledged);
    await dropAcknowledged(acknowledged);
    return partitions.size();
  };
}

/** The range of the next id, and those after it. */
function aheadOf(nextId: bigint): bigint[] {
  return Array.from({ length: PARTITIONS_AHEAD }, (_, ahead) => nextId / PARTITION_IDS + BigInt(ahead));
}

function xmin(snapshot: Snapshot): bigint {
  return BigInt(snapshot.split(':')[0] ?? 0);
}

function xmax(snapshot: Snapshot): bigint {
  return BigInt(snapshot.split(':')[1] ?? 0);
}
