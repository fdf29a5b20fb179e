import type { Kafka } from 'kafkajs';
import { nextOffset } from '../../flow/next-offset.ts';
import type { PartitionRange } from '../../ports/record-stream.ts';
import { createLoadRecords } from './load-records.ts';
import { topicOffsets } from './load-topics.ts';

/** How much of a topic is before those who read it. */
export interface Lag {
  readonly records: number;
  /** False: offsets were counted, some of which hold no record. */
  readonly exact: boolean;
}

/** So many offsets are worth reading: what ends a transaction takes an offset, too. */
const FEW = 1_000n;

/** Throws where the topic does not have the offset at which a partition is to be read. */
export type RangeCheck = (partition: number, offset: bigint, range: PartitionRange) => void;

/**
 * The records of a topic from these offsets on; a partition that is not among them counts from its beginning.
 * Reads at most a thousand offsets' worth of records.
 */
export async function lagBehind(
  kafka: Kafka,
  topic: string,
  at: ReadonlyMap<number, bigint>,
  check: RangeCheck,
  signal: AbortSignal,
): Promise<Lag> {
  const [low, ends] = await Promise.all([
    topicOffsets(kafka, topic, { fromBeginning: true }),
    topicOffsets(kafka, topic, { fromBeginning: false }),
  ]);
  const behind = new Map<number, bigint>();
  let offsets = 0n;
  for (const [partition, end] of ends.entries()) {
    const next = nextOffset(at, low, partition);
    check(partition, next, { low: low[partition] ?? 0n, high: end });
    if (next >= end) continue;
    behind.set(partition, next);
    offsets += end - next;
  }
  if (offsets > FEW) return { records: Number(offsets), exact: false };
  let records = 0;
  if (behind.size > 0)
    await createLoadRecords({ kafka, topic }).read(
      {
        from: behind,
        end: (partition) => ends[partition] ?? null,
        handle: async (part) => {
          records += part.records.length;
        },
      },
      signal,
    );
  return { records, exact: true };
}
