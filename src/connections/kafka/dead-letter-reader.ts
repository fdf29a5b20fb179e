import type { Cluster, Kafka } from 'kafkajs';
import { TransientError } from '../../errors.ts';
import { partitionCount, withCluster } from './cluster.ts';
import { translateKafka } from './errors.ts';
import { committedPart, fetchRaw, type RawMessage } from './fetch.ts';

/** A record as it lies on the dead-letter topic. */
export interface StoredLetter {
  readonly partition: number;
  readonly offset: bigint;
  /** When it was written, milliseconds. */
  readonly writtenAt: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: ReadonlyMap<string, string>;
}

export interface NewestLetters<T> {
  /** Newest first. */
  readonly found: readonly T[];
  /** Whether that is all of them: the topic was read to its beginning. */
  readonly complete: boolean;
}

export interface DeadLetterReader {
  /** What `select` makes of the newest letters, those left out for which it answers null; at most `limit`. */
  newest<T extends object>(
    limit: number,
    select: (letter: StoredLetter) => T | null,
  ): Promise<NewestLetters<T>>;
  /** Null where there is none at this place. */
  at(partition: number, offset: bigint): Promise<StoredLetter | null>;
}

const FIRST_STEP = 500n;
const LONGEST_STEP = 8000n;
const BYTES_PER_FETCH = 4 * 1024 * 1024;
const MOST_BYTES_PER_FETCH = 64 * 1024 * 1024;
const MAX_WAIT_MS = 50;
const DEADLINE_MS = 60_000;

/** Reads a dead-letter topic without any consumer group; connections last as long as a call. */
export function createDeadLetterReader({ kafka, topic }: { kafka: Kafka; topic: string }): DeadLetterReader {
  async function reading<T>(work: (read: TopicRead) => Promise<T>): Promise<T> {
    try {
      return await withCluster(kafka, async (cluster) => {
        const partitions = await partitionCount(cluster, topic);
        return work({ cluster, topic, partitions, deadline: Date.now() + DEADLINE_MS });
      });
    } catch (error) {
      throw translateKafka(error, { doing: 'reading dead letters', topic });
    }
  }

  return {
    newest: (limit, select) =>
      reading(async (read) => {
        const chosen: { at: number; offset: bigint; taken: NonNullable<ReturnType<typeof select>> }[] = [];
        let complete = true;
        for (let partition = 0; partition < read.partitions; partition += 1) {
          let own = 0;
          complete =
            (await backwards(
              read,
              partition,
              (letter) => {
                const taken = select(letter);
                return taken === null ? null : { at: letter.writtenAt, offset: letter.offset, taken };
              },
              (found) => {
                own += 1;
                chosen.push(found);
                return own < limit;
              },
            )) && complete;
        }
        chosen.sort((a, b) => b.at - a.at || Number(b.offset - a.offset));
        return {
          found: chosen.slice(0, limit).map(({ taken }) => taken),
          complete: complete && chosen.length <= limit,
        };
      }),

    at: (partition, offset) =>
      reading(async (read) => {
        if (partition >= read.partitions) return null;
        const { low, high } = await rangeOf(read, partition);
        if (offset < low || offset >= high) return null;
        const [letter] = await between(read, { partition, begin: offset, end: offset + 1n }, (one) => one);
        return letter ?? null;
      }),
  };
}

interface TopicRead {
  readonly cluster: Cluster;
  readonly topic: string;
  readonly partitions: number;
  readonly deadline: number;
}

/**
 * Visits what `select` makes of a partition's letters from the end back, until `visit` answers false; answers
 * whether it never did.
 */
async function backwards<T>(
  read: TopicRead,
  partition: number,
  select: (letter: StoredLetter) => T | null,
  visit: (selected: T) => boolean,
): Promise<boolean> {
  const { low, high } = await rangeOf(read, partition);
  let step = FIRST_STEP;
  for (let end = high; end > low;) {
    const begin = end - step > low ? end - step : low;
    const selected = await between(read, { partition, begin, end }, select);
    for (const each of selected.toReversed()) if (!visit(each)) return false;
    end = begin;
    step = step * 2n < LONGEST_STEP ? step * 2n : LONGEST_STEP;
  }
  return true;
}

interface OffsetRange {
  readonly partition: number;
  readonly begin: bigint;
  /** Excluded. */
  readonly end: bigint;
}

/** What `select` makes of the committed letters there, oldest first; the letters themselves can be large. */
async function between<T>(
  { cluster, topic, deadline }: TopicRead,
  { partition, begin, end }: OffsetRange,
  select: (letter: StoredLetter) => T | null,
): Promise<T[]> {
  const letters: T[] = [];
  let bytes = BYTES_PER_FETCH;
  for (let from = begin; from < end;) {
    if (Date.now() > deadline)
      throw new TransientError({
        code: 'KAFKA_SCAN_TIMEOUT',
        message: `Reading topic ${topic} partition ${partition} took longer than ${DEADLINE_MS} ms; at offset ${from}.`,
      });
    const [leader = ''] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
    const limits = { maxWaitMs: MAX_WAIT_MS, maxBytes: bytes, maxBytesPerPartition: bytes };
    const [raw] = await fetchRaw(cluster, leader, topic, new Map([[partition, from]]), limits);
    if (raw === undefined) continue;
    const { records, next, stable } = committedPart(raw, from);
    const messages = new Map(raw.messages.map((message) => [message.offset, message]));
    for (const { offset, key, value, timestamp } of records)
      if (offset < end) {
        const headers = headersOf(messages.get(String(offset)));
        const selected = select({ partition, offset, writtenAt: timestamp, key, value, headers });
        if (selected !== null) letters.push(selected);
      }
    // What follows belongs to a transaction that is still open.
    if (next === from && from >= stable) break;
    bytes = next === from ? Math.min(bytes * 2, MOST_BYTES_PER_FETCH) : BYTES_PER_FETCH;
    from = next;
  }
  return letters;
}

function headersOf(message: RawMessage | undefined): ReadonlyMap<string, string> {
  const headers = Object.entries(message?.headers ?? {});
  return new Map(
    headers.map(([name, value]) => [name, value === undefined ? '' : [value].flat().join(', ')]),
  );
}

async function rangeOf(
  { cluster, topic }: TopicRead,
  partition: number,
): Promise<{ readonly low: bigint; readonly high: bigint }> {
  const end = async (fromBeginning: boolean): Promise<bigint> => {
    const [answer] = await cluster.fetchTopicsOffset([{ topic, partitions: [{ partition }], fromBeginning }]);
    return BigInt(answer?.partitions[0]?.offset ?? '0');
  };
  return { low: await end(true), high: await end(false) };
}
