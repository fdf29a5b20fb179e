import type { Cluster } from 'kafkajs';
import { TransientError } from '../../errors.ts';
import type { StreamRecord } from '../../ports/record-stream.ts';
import { fetchCommitted } from './fetch.ts';

const MAX_WAIT_MS = 50;
const BYTES_PER_FETCH = 4 * 1024 * 1024;
const MOST_BYTES_PER_FETCH = 64 * 1024 * 1024;

export interface PartitionScan {
  readonly topic: string;
  readonly partition: number;
  /** Called with every committed record, oldest first; true ends the scan. */
  readonly found: (record: StreamRecord) => boolean;
  /** Milliseconds until the scan gives up with a TransientError. */
  readonly deadlineMs: number;
  /** Ends, too, where what was committed when it began ends. */
  readonly toEnd?: boolean;
}

/** Reads a partition from its beginning, a few megabytes at a time, until `found` says that it was enough. */
export async function scanPartition(cluster: Cluster, scan: PartitionScan): Promise<void> {
  const { topic, partition } = scan;
  const deadline = Date.now() + scan.deadlineMs;
  let offset = await beginning(cluster, topic, partition);
  let bytes = BYTES_PER_FETCH;
  let end: bigint | undefined;
  while (Date.now() < deadline) {
    const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
    const [part] = await fetchCommitted(cluster, nodeId ?? '', topic, new Map([[partition, offset]]), {
      maxWaitMs: MAX_WAIT_MS,
      maxBytes: bytes,
      maxBytesPerPartition: bytes,
    });
    if (part === undefined) continue;
    if (part.records.some((record) => scan.found(record))) return;
    end ??= part.stable;
    if (scan.toEnd === true && part.next >= end) return;
    // Batches that compaction emptied are invisible here: a larger fetch reaches past them.
    const stuck = part.next === offset && offset < part.stable;
    bytes = stuck ? Math.min(bytes * 2, MOST_BYTES_PER_FETCH) : BYTES_PER_FETCH;
    offset = part.next;
  }
  throw new TransientError({
    code: 'KAFKA_SCAN_TIMEOUT',
    message:
      `Reading topic ${topic} partition ${partition} did not reach its end within ${scan.deadlineMs} ms; ` +
      `at offset ${offset}. A transaction that another producer left open may hold it back.`,
  });
}

async function beginning(cluster: Cluster, topic: string, partition: number): Promise<bigint> {
  const [offsets] = await cluster.fetchTopicsOffset([
    { topic, partitions: [{ partition }], fromBeginning: true },
  ]);
  return BigInt(offsets?.partitions[0]?.offset ?? '0');
}
