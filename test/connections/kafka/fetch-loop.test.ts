import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from 'kafkajs';
import { createAssignment, type Assignment } from '../../../src/connections/kafka/assignment.ts';
import { silent } from '../../../src/connections/kafka/client.ts';
import type { RawPartition } from '../../../src/connections/kafka/fetch.ts';
import { createSlots } from '../../../src/flow/slots.ts';
import type { BatchOutcome, StreamBatch } from '../../../src/ports/record-stream.ts';
import { undoing, type Later } from '../../support/undoing.ts';

const MEGABYTE = 1024 * 1024;
const MOST_PER_PARTITION = 256 * 1024;
/** Eight parts of 3 MB, and one that is fetched where less than one is left. */
const MOST_HELD = 27 * MEGABYTE;

/** Nobody looks at what they hold. */
const values = Buffer.alloc(40 * MEGABYTE);

interface Asked {
  readonly maxBytes: number;
  readonly topics: readonly {
    readonly partitions: readonly {
      readonly partition: number;
      readonly fetchOffset: string;
      readonly maxBytes: number;
    }[];
  }[];
}

/** Batches of one record each, which take so many bytes on the topic and so many once they are decoded. */
interface Rows {
  readonly count: number;
  readonly packed: number;
  readonly decoded: number;
}

/** One broker that answers as Kafka does: whole batches as far as they fit, the very first one in any case. */
function brokerWith(topic: ReadonlyMap<number, Rows>) {
  const asked: { readonly maxBytes: number; readonly perPartition: number; readonly given: number }[] = [];
  function answer(request: Asked): { readonly responses: { readonly partitions: RawPartition[] }[] } {
    const { maxBytes, topics } = request;
    let left = maxBytes;
    const partitions = topics[0]!.partitions.map(
      ({ partition, fetchOffset, maxBytes: own }): RawPartition => {
        const { count, packed, decoded } = topic.get(partition)!;
        const from = Number(fetchOffset);
        const fitting = Math.floor(Math.min(left, own) / packed);
        const messages = Array.from(
          { length: Math.min(count - from, left === maxBytes ? Math.max(1, fitting) : fitting) },
          (_, n) => ({
            offset: String(from + n),
            timestamp: '0',
            key: null,
            value: values.subarray(0, decoded),
          }),
        );
        left -= messages.length * packed;
        return { partition, highWatermark: String(count), messages };
      },
    );
    const given = partitions.flatMap(({ messages }) => messages);
    asked.push({
      maxBytes,
      perPartition: topics[0]!.partitions[0]!.maxBytes,
      given: given.reduce((sum, { value }) => sum + value!.length, 0),
    });
    return { responses: [{ partitions }] };
  }
  const cluster = {
    findLeaderForPartitions: (_: string, partitions: number[]) => ({ '0': partitions }),
    findBroker: () =>
      Promise.resolve({
        fetch: async (request: Asked) => {
          await turns(1);
          const answered = answer(request);
          // A real one waits as well where there is nothing.
          if (answered.responses[0]!.partitions.every(({ messages }) => messages.length === 0))
            await delay(10);
          return answered;
        },
      }),
    fetchTopicsOffset: ([{ partitions }]: [{ partitions: { partition: number }[] }]) =>
      Promise.resolve([{ partitions: partitions.map(({ partition }) => ({ partition, offset: '0' })) }]),
    refreshMetadata: () => Promise.resolve(),
  } as unknown as Cluster;
  return { asked, cluster };
}

/** All partitions of the topic are ours; batches wait in the handler until they are let go. */
function reading(later: Later, topic: ReadonlyMap<number, Rows>) {
  const { asked, cluster } = brokerWith(topic);
  const stop = new AbortController();
  const waiting: { readonly batch: StreamBatch; readonly done: (outcome?: BatchOutcome) => void }[] = [];
  const read = new Map<number, number>();
  const assignment: Assignment = createAssignment({
    cluster,
    topic: 'changes',
    stopping: stop.signal,
    limits: { maxWaitMs: 0, maxBytes: 2 * MEGABYTE, maxBytesPerPartition: MOST_PER_PARTITION },
    slots: createSlots(topic.size),
    askAgainMs: 1_000_000,
    random: Math.random,
    logger: silent,
    onTrouble: (error) => assert.equal(error, null),
    handler: {
      assigned: (ranges) => Promise.resolve(new Map([...ranges.keys()].map((each) => [each, 0n]))),
      revoked: () => undefined,
      batch: (batch) => {
        read.set(batch.partition, Number(batch.next));
        return new Promise((resolve) => {
          waiting.push({
            batch,
            done: (outcome = { kind: 'done', next: batch.next }) => resolve(outcome),
          });
        });
      },
    },
  });
  later(stop, () => {
    stop.abort();
    for (const { done } of waiting) done();
    return assignment.idle();
  });
  assignment.update([...topic.keys()]);
  /** Until nothing more comes though nothing is let go. */
  const still = async (): Promise<void> => {
    for (let before = -1; before !== waiting.length;) {
      before = waiting.length;
      await turns(50);
    }
  };
  return { asked, assignment, waiting, read, still };
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const everywhere = (partitions: number, rows: Rows): ReadonlyMap<number, Rows> =>
  new Map(Array.from({ length: partitions }, (_, partition) => [partition, rows]));
const bytesOf = ({ records }: StreamBatch): number =>
  records.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);

describe('what is read ahead of all partitions', () => {
  const later = undoing();

  it('is bounded, however little of the topic it is', async () => {
    const rows = { count: 50, packed: 4096, decoded: MEGABYTE };
    for (const partitions of [1, 8, 32]) {
      const { asked, waiting, read, still } = reading(later, everywhere(partitions, rows));
      let done = 0;
      let handled = 0;
      while ([...read.values()].filter((next) => next === rows.count).length < partitions) {
        await still();
        const held = asked.reduce((sum, { given }) => sum + given, 0) - handled;
        assert.ok(held <= MOST_HELD, `${held} bytes of ${partitions} partitions`);
        for (; done < waiting.length; done++) {
          handled += bytesOf(waiting[done]!.batch);
          waiting[done]!.done();
        }
      }
    }
  });

  it('is all that a fetch may bring where little comes of it', async () => {
    const rows = { count: 10_000, packed: 8 * 1024, decoded: 40 * 1024 };
    const { asked, waiting } = reading(later, everywhere(8, rows));
    let done = 0;
    while (asked.length < 40) {
      await turns(1);
      for (; done < waiting.length; done++) waiting[done]!.done();
    }
    assert.equal(Math.max(...asked.map(({ maxBytes }) => maxBytes)), 2 * MEGABYTE);
    assert.equal(Math.max(...asked.map(({ perPartition }) => perPartition)), MOST_PER_PARTITION);
  });

  it('is one batch in any case, however large: every partition comes to its end', async () => {
    const rows = { count: 3, packed: 300 * 1024, decoded: 40 * MEGABYTE };
    const { waiting, read, still } = reading(later, everywhere(4, rows));
    for (let round = 0; round < 4 * rows.count; round++) {
      await still();
      assert.equal(waiting.length, round + 1, 'one of them at a time');
      waiting[round]!.done();
    }
    assert.deepEqual([...read.values()], [3, 3, 3, 3]);
  });

  it('goes on with what a partition held that rests, is taken away or loses its place', async () => {
    const rows = { count: 2, packed: 300 * 1024, decoded: 40 * MEGABYTE };
    const { assignment, waiting, still } = reading(later, everywhere(4, rows));
    await still();
    assert.equal(waiting.length, 1);
    const partition = (nth: number): number => waiting[nth]!.batch.partition;
    waiting[0]!.done({ kind: 'pause', ms: 1_000_000 });
    await still();
    assert.equal(waiting.length, 2, 'while one rests');
    const left = [0, 1, 2, 3].filter((each) => each !== partition(1));
    assignment.update(left);
    await still();
    assert.equal(waiting.length, 3, 'after one was taken away');
    assert.equal(new Set([0, 1, 2].map(partition)).size, 3, 'each has its turn');
    waiting[2]!.done();
    await still();
    assert.equal(waiting.length, 4);
    // What waits behind the batch in hand is forgotten with it.
    assignment.reread([partition(3)]);
    waiting[3]!.done();
    await still();
    assert.equal(waiting.length, 5, 'after one lost its place');
  });
});
