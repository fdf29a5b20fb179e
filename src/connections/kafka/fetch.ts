import type { Cluster } from 'kafkajs';
import type { StreamRecord } from '../../ports/record-stream.ts';

export interface FetchLimits {
  /** How long the broker waits for a first byte, milliseconds. */
  readonly maxWaitMs: number;
  readonly maxBytes: number;
  readonly maxBytesPerPartition: number;
}

export interface PartitionFetch {
  readonly partition: number;
  /** The offset asked for. */
  readonly from: bigint;
  /** The offset after everything that was read, control and aborted records included. */
  readonly next: bigint;
  /** The partition's high watermark. */
  readonly end: bigint;
  /** Below it every transaction is decided: nothing beyond can be read yet. */
  readonly stable: bigint;
  /** Committed records only. */
  readonly records: readonly StreamRecord[];
}

/** What this code uses of kafkajs's (untyped) answer to a fetch. */
interface RawAnswer {
  readonly responses: readonly { readonly partitions: readonly RawPartition[] }[];
}

export interface RawPartition {
  readonly partition: number;
  readonly highWatermark: string;
  readonly lastStableOffset?: string;
  readonly abortedTransactions?: readonly { readonly producerId: string; readonly firstOffset: string }[];
  readonly messages: readonly RawMessage[];
}

export interface RawMessage {
  readonly offset: string;
  readonly timestamp: string;
  /** Both as numbers: where our own decoder has read the batch. */
  readonly at?: number;
  readonly time?: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers?: Readonly<Record<string, Buffer | readonly Buffer[] | undefined>>;
  readonly isControlRecord?: boolean;
  /** Absent in the message format before Kafka 0.11. */
  readonly batchContext?: {
    readonly firstOffset: string;
    readonly lastOffsetDelta: number;
    readonly producerId: string;
    readonly inTransaction: boolean;
  };
}

const READ_COMMITTED = 1;

/** One fetch from the broker `nodeId` that leads these partitions of the topic. Throws kafkajs's errors. */
export async function fetchCommitted(
  cluster: Cluster,
  nodeId: string,
  topic: string,
  wanted: ReadonlyMap<number, bigint>,
  limits: FetchLimits,
): Promise<PartitionFetch[]> {
  const parts = await fetchRaw(cluster, nodeId, topic, wanted, limits);
  return parts.map((raw) => committedPart(raw, wanted.get(raw.partition) ?? 0n));
}

/** The same fetch as the broker answers it: with headers, and with what aborted transactions wrote. */
export async function fetchRaw(
  cluster: Cluster,
  nodeId: string,
  topic: string,
  wanted: ReadonlyMap<number, bigint>,
  limits: FetchLimits,
): Promise<readonly RawPartition[]> {
  const broker = await cluster.findBroker({ nodeId });
  const answer = (await broker.fetch({
    isolationLevel: READ_COMMITTED,
    maxWaitTime: limits.maxWaitMs,
    minBytes: 1,
    maxBytes: limits.maxBytes,
    topics: [
      {
        topic,
        partitions: [...wanted].map(([partition, offset]) => ({
          partition,
          fetchOffset: offset.toString(),
          maxBytes: limits.maxBytesPerPartition,
        })),
      },
    ],
    rackId: '',
  })) as RawAnswer;
  return answer.responses.flatMap(({ partitions }) => partitions);
}

const ABORT_MARKER = Buffer.from([0, 0, 0, 0]);

/**
 * Drops what aborted transactions wrote. kafkajs takes at most one entry of the broker's list per
 * record, so that a fetch that begins inside two aborted transactions hands out records of the second.
 */
export function committedPart(raw: RawPartition, from: bigint): PartitionFetch {
  const open = new Set<string>();
  const aborted = (raw.abortedTransactions ?? [])
    .map(({ producerId, firstOffset }) => ({ producerId, first: BigInt(firstOffset) }))
    .sort((a, b) => (a.first < b.first ? -1 : 1));
  let nextAborted = 0;
  const records: StreamRecord[] = [];
  for (const message of raw.messages) {
    const offset = BigInt(message.at ?? message.offset);
    for (
      let entry = aborted[nextAborted];
      entry !== undefined && entry.first <= offset;
      entry = aborted[++nextAborted]
    )
      open.add(entry.producerId);
    const context = message.batchContext;
    if (message.isControlRecord === true) {
      // A transaction of the same producer that follows may have been committed.
      if (message.key?.equals(ABORT_MARKER) === true && context !== undefined)
        open.delete(context.producerId);
      continue;
    }
    if (context?.inTransaction === true && open.has(context.producerId)) continue;
    // The broker answers with whole batches: the first may begin before the offset asked for.
    if (offset < from) continue;
    records.push({
      offset,
      key: message.key,
      value: message.value,
      timestamp: message.time ?? Number(message.timestamp),
    });
  }
  const end = BigInt(raw.highWatermark);
  return {
    partition: raw.partition,
    from,
    next: nextOffset(raw.messages, from),
    end,
    stable: raw.lastStableOffset === undefined ? end : BigInt(raw.lastStableOffset),
    records,
  };
}

function nextOffset(messages: readonly RawMessage[], from: bigint): bigint {
  const last = messages.at(-1);
  if (last === undefined) return from;
  const context = last.batchContext;
  // Compaction may have removed a batch's last records, never the number of its last offset.
  const next =
    context === undefined
      ? BigInt(last.offset) + 1n
      : BigInt(context.firstOffset) + BigInt(context.lastOffsetDelta) + 1n;
  return next > from ? next : from;
}
