import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import {
  createRecordStream,
  type RecordStreamOptions,
} from '../../../src/connections/kafka/record-stream.ts';
import { OperatorError, TransientError, type DeltaferryError } from '../../../src/errors.ts';
import type {
  BatchOutcome,
  PartitionRange,
  StreamBatch,
  StreamHandler,
} from '../../../src/ports/record-stream.ts';
import { testStack } from '../../support/stack.ts';
import { until } from '../../support/until.ts';
import { cuttingProxy, kafkaThrough } from './cutting-proxy.ts';
import { ownTopics, type OwnTopics } from './own-topics.ts';

interface Member {
  readonly seen: Map<number, number[]>;
  readonly ranges: ReadonlyMap<number, PartitionRange>[];
  readonly revoked: number[];
  readonly owned: Set<number>;
  reread(partitions: readonly number[]): void;
  stop(): Promise<void>;
  readonly ended: Promise<void>;
}

describe('record stream on Kafka', () => {
  let topics: OwnTopics;
  let members: Member[] = [];
  const gates: (() => void)[] = [];
  before(() => {
    topics = ownTopics('stream');
  });
  afterEach(async () => {
    for (const open of gates.splice(0)) open();
    await Promise.all(members.map((member) => member.stop()));
    members = [];
  });
  after(() => topics.drop());

  const outcomeDone = ({ next }: StreamBatch): BatchOutcome => ({ kind: 'done', next });
  const lows = (ranges: ReadonlyMap<number, PartitionRange>): Map<number, bigint> =>
    new Map([...ranges].map(([partition, { low }]) => [partition, low]));

  /** A member of the group that notes the numbers it reads. */
  function member(
    topic: string,
    more: Partial<RecordStreamOptions> = {},
    behaviour: {
      readonly batch?: (batch: StreamBatch) => Promise<BatchOutcome> | BatchOutcome;
      readonly assigned?: StreamHandler['assigned'];
      readonly durable?: () => ReadonlyMap<number, bigint>;
    } = {},
  ): Member {
    const seen = new Map<number, number[]>();
    const ranges: ReadonlyMap<number, PartitionRange>[] = [];
    const revoked: number[] = [];
    const owned = new Set<number>();
    const stop = new AbortController();
    const stream = createRecordStream({
      kafka: topics.kafka,
      groupId: `${topic}-group`,
      topic,
      sessionTimeoutMs: 3000,
      ...more,
    });
    const ended = stream.run(
      {
        async assigned(given) {
          ranges.push(given);
          const answer = await (behaviour.assigned ?? (async (all) => lows(all)))(given);
          for (const partition of answer.keys()) owned.add(partition);
          return answer;
        },
        revoked(partitions) {
          revoked.push(...partitions);
          for (const partition of partitions) owned.delete(partition);
        },
        async batch(batch) {
          const outcome = await (behaviour.batch ?? outcomeDone)(batch);
          if (outcome.kind === 'done')
            seen.set(batch.partition, [
              ...(seen.get(batch.partition) ?? []),
              ...batch.records.map(({ value }) => Number(Buffer.from(value ?? []).toString())),
            ]);
          return outcome;
        },
        ...(behaviour.durable === undefined ? {} : { durable: behaviour.durable }),
      },
      stop.signal,
    );
    ended.catch(() => undefined);
    const made: Member = {
      seen,
      ranges,
      revoked,
      owned,
      ended,
      reread: (partitions) => stream.reread(partitions),
      async stop() {
        stop.abort();
        await ended.catch(() => undefined);
      },
    };
    members.push(made);
    return made;
  }

  /** Something to wait for, that is let go at the end of the test at the latest. */
  function gate(): { held: Promise<void>; release: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    gates.push(resolve);
    return { held: promise, release: resolve };
  }

  const count = (...all: Member[]): number =>
    all.reduce((sum, { seen }) => sum + [...seen.values()].reduce((each, list) => each + list.length, 0), 0);
  const message = (value: number, partition = 0): { value: string; partition: number } => ({
    value: String(value),
    partition,
  });
  const numbers = (from: number, to: number): number[] =>
    Array.from({ length: to - from }, (_, at) => from + at);

  it('reads everything once and in order, and Kafka’s own offsets follow for lag tools', async () => {
    const topic = await topics.topic('all', 2);
    await topics.produce(
      topic,
      numbers(0, 1000).map((n) => message(n, n % 2)),
    );
    const reader = member(topic, { maxBytesPerPartition: 2000, commitEveryMs: 100 });
    await until('all records', () => count(reader) === 1000);
    assert.deepEqual(
      reader.seen.get(0),
      numbers(0, 500).map((n) => n * 2),
    );
    assert.deepEqual(
      reader.seen.get(1),
      numbers(0, 500).map((n) => n * 2 + 1),
    );
    const admin = topics.kafka.admin();
    await admin.connect();
    await until('the commit', async () => {
      const [found] = await admin.fetchOffsets({ groupId: `${topic}-group`, topics: [topic] });
      return found?.partitions.every(({ offset }) => offset === '500');
    });
    await admin.disconnect();
  });

  it('hands out committed records only, and waits for open transactions', async () => {
    const topic = await topics.topic('committed', 1);
    const producers = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => {
        const producer = topics.kafka.producer({ transactionalId: `${topic}-${name}` });
        await producer.connect();
        return { producer, transaction: await producer.transaction() };
      }),
    );
    const [a, b, c] = producers;
    assert.ok(a && b && c);
    const send = (to: typeof a, value: number) => to.transaction.send({ topic, messages: [message(value)] });
    await send(a, 100);
    await send(b, 200);
    await send(b, 201);
    await send(a, 101);
    await send(c, 1);
    await a.transaction.abort();
    await b.transaction.abort();
    await topics.produce(topic, [message(2)]);
    // One fetch per record batch: the second begins inside both aborted transactions.
    const reader = member(topic, { maxBytesPerPartition: 1 });
    await until('the assignment', () => reader.ranges.length > 0);
    assert.equal(count(reader), 0);
    await c.transaction.commit();
    await until('two records', () => count(reader) >= 2);
    await topics.produce(topic, [message(3)]);
    await until('three records', () => count(reader) >= 3);
    assert.deepEqual(reader.seen.get(0), [1, 2, 3]);
    await Promise.all(producers.map(({ producer }) => producer.disconnect()));
  });

  it('tells the watermarks on assignment and starts where it is told', async () => {
    const topic = await topics.topic('marks', 1);
    await topics.produce(
      topic,
      numbers(0, 10).map((n) => message(n)),
    );
    await deleteBefore(topic, 4);
    const reader = member(topic, {}, { assigned: async () => new Map([[0, 6n]]) });
    await until('the rest', () => count(reader) === 4);
    assert.deepEqual(reader.ranges, [new Map([[0, { low: 4n, high: 10n }]])]);
    assert.deepEqual(reader.seen.get(0), [6, 7, 8, 9]);
  });

  it('pauses: the same records come again, and no other partition waits for it', async () => {
    const topic = await topics.topic('pause', 2);
    await topics.produce(topic, [message(1, 0), message(2, 0), message(3, 1)]);
    const froms: bigint[] = [];
    let pauses = 3;
    const reader = member(
      topic,
      {},
      {
        batch(batch) {
          if (batch.partition === 1) return outcomeDone(batch);
          froms.push(batch.from);
          return pauses-- > 0 ? { kind: 'pause', ms: 50 } : outcomeDone(batch);
        },
      },
    );
    await until('the other partition', () => reader.seen.get(1)?.length === 1);
    await until('the paused one', () => reader.seen.get(0)?.length === 2);
    assert.deepEqual(froms, [0n, 0n, 0n, 0n]);
  });

  it('seeks where the handler says, dropping what was read ahead', async () => {
    const topic = await topics.topic('seek', 1);
    for (const n of numbers(0, 6)) await topics.produce(topic, [message(n)]);
    let sought = false;
    const reader = member(
      topic,
      { maxBytesPerPartition: 1 },
      {
        batch(batch) {
          if (sought || batch.from !== 2n) return outcomeDone(batch);
          sought = true;
          return { kind: 'seek', offset: 4n };
        },
      },
    );
    await until('the end', () => reader.seen.get(0)?.includes(5));
    assert.deepEqual(reader.seen.get(0), [0, 1, 4, 5]);
  });

  it('commits what the handler calls durable, and no more', async () => {
    const topic = await topics.topic('durable', 1);
    await topics.produce(
      topic,
      numbers(0, 6).map((n) => message(n)),
    );
    let durable = 0n;
    const reader = member(
      topic,
      { commitEveryMs: 20 },
      {
        durable: () =>
          new Map([
            [0, durable],
            // Not ours: nothing is committed for it.
            [7, 3n],
          ]),
      },
    );
    const admin = topics.kafka.admin();
    await admin.connect();
    const committed = async (): Promise<string | undefined> =>
      (await admin.fetchOffsets({ groupId: `${topic}-group`, topics: [topic] }))[0]?.partitions[0]?.offset;
    await until('all records', () => count(reader) === 6);
    const first = await until('a commit', async () => {
      const offset = await committed();
      return offset !== '-1' && offset;
    });
    assert.equal(first, '0');
    durable = 4n;
    await until('the next commit', async () => (await committed()) === '4');
    await reader.stop();
    assert.equal(await committed(), '4');
    await admin.disconnect();
  });

  it('asks anew for a partition whose place the handler has lost, after the batch in hand, and for no other', async () => {
    const topic = await topics.topic('reread', 2);
    for (const n of numbers(0, 6)) await topics.produce(topic, [message(n), message(10 + n, 1)]);
    const { held, release } = gate();
    const log: string[] = [];
    const reader = member(
      topic,
      { maxBytesPerPartition: 1 },
      {
        async assigned(ranges) {
          log.push(`asked for ${[...ranges.keys()].sort().join()}`);
          return new Map(
            [...ranges.keys()].map((partition) => [partition, reader.ranges.length > 1 ? 2n : 0n]),
          );
        },
        async batch(batch) {
          if (batch.partition === 1) return outcomeDone(batch);
          log.push(`batch from ${batch.from}`);
          if (batch.from === 3n && reader.ranges.length === 1) {
            await held;
            log.push('ended');
            // An answer of before: it does not count.
            return { kind: 'seek', offset: 5n };
          }
          return outcomeDone(batch);
        },
      },
    );
    await until('the batch', () => log.includes('batch from 3'));
    await until('the other partition', () => reader.seen.get(1)?.length === 6);
    reader.reread([0, 9]);
    release();
    await until('the end', () => reader.seen.get(0)?.includes(5));
    assert.deepEqual(log, [
      'asked for 0,1',
      'batch from 0',
      'batch from 1',
      'batch from 2',
      'batch from 3',
      'ended',
      'asked for 0',
      'batch from 2',
      'batch from 3',
      'batch from 4',
      'batch from 5',
    ]);
    assert.deepEqual(reader.seen.get(1), numbers(10, 16));
  });

  it('asks anew at once while the partition is idle or rests, and again where the place is lost while it asks', async () => {
    const topic = await topics.topic('reread-idle', 1);
    await topics.produce(topic, [message(1)]);
    let pauses = 1;
    const reader = member(
      topic,
      {},
      {
        async assigned(ranges) {
          if (reader.ranges.length === 2) reader.reread([0]);
          return lows(ranges);
        },
        batch: (batch) => (pauses-- > 0 ? { kind: 'pause', ms: 1_000_000 } : outcomeDone(batch)),
      },
    );
    await until('the pause', () => pauses === 0);
    reader.reread([0]);
    await until('the record', () => count(reader) === 1);
    assert.equal(reader.ranges.length, 3);
    reader.reread([0]);
    await until('the record again', () => count(reader) === 2);
    assert.deepEqual([reader.ranges.length, reader.seen.get(0)], [4, [1, 1]]);
  });

  it('asks again for a partition that the handler left out, and soon where it threw', async () => {
    const topic = await topics.topic('ask', 1);
    await topics.produce(topic, [message(1)]);
    let asked = 0;
    const reader = member(
      topic,
      { askAgainMs: 100 },
      {
        async assigned(ranges) {
          asked += 1;
          if (asked === 1) throw new TransientError({ code: 'UNREACHABLE', message: 'no database' });
          return asked < 4 ? new Map() : lows(ranges);
        },
      },
    );
    await until('the record', () => count(reader) === 1);
    assert.equal(asked, 4);
  });

  it('never jumps over records that retention dropped: the handler is asked again', async () => {
    const topic = await topics.topic('expired', 1);
    await topics.produce(
      topic,
      numbers(0, 10).map((n) => message(n)),
    );
    const { held, release } = gate();
    const reader = member(
      topic,
      { askAgainMs: 60_000 },
      {
        async assigned(ranges) {
          return ranges.get(0)?.low === 0n ? new Map([[0, 0n]]) : new Map();
        },
        async batch() {
          await held;
          // What was read ahead is dropped: offset 2 has to be fetched, and is gone.
          return { kind: 'seek', offset: 2n };
        },
      },
    );
    await until('the first assignment', () => reader.ranges.length === 1);
    await deleteBefore(topic, 8);
    release();
    await until('the second question', () => reader.ranges.length === 2);
    assert.deepEqual(reader.ranges[1], new Map([[0, { low: 8n, high: 10n }]]));
    assert.equal(count(reader), 0);
  });

  it('shares the partitions with a second member and takes them over when it leaves', async () => {
    const topic = await topics.topic('share', 4);
    const first = member(topic);
    await until('all four', () => first.owned.size === 4);
    const second = member(topic);
    await until('two each', () => first.owned.size === 2 && second.owned.size === 2);
    assert.deepEqual(new Set([...first.owned, ...second.owned]), new Set([0, 1, 2, 3]));
    await topics.produce(
      topic,
      numbers(0, 100).map((n) => message(n, n % 4)),
    );
    await until('all records', () =>
      [...first.owned, ...second.owned].every((p) => read(p, first, second) === 25),
    );
    await second.stop();
    await until('all four again', () => first.owned.size === 4);
    assert.equal(second.revoked.length, 2);
  });

  it('keeps its membership and the other partitions going while a batch takes longer than the session', async () => {
    const topic = await topics.topic('long', 2);
    await topics.produce(topic, [message(1, 0), message(2, 1)]);
    const { held, release } = gate();
    const slow = member(
      topic,
      { sessionTimeoutMs: 1000 },
      {
        async batch(batch) {
          if (batch.partition === 0) await held;
          return outcomeDone(batch);
        },
      },
    );
    await until('the quick partition', () => slow.seen.get(1)?.length === 1);
    const start = Date.now();
    await until('twice the session', () => Date.now() - start > 2000);
    await topics.produce(topic, [message(3, 1)]);
    await until('the quick partition again', () => slow.seen.get(1)?.length === 2);
    assert.deepEqual([slow.revoked, slow.ranges.length], [[], 1]);
    release();
    await until('the slow partition', () => slow.seen.get(0)?.length === 1);
  });

  it('waits with a partition that comes back until its old batch has left the handler', async () => {
    const topic = await topics.topic('back', 1);
    await topics.produce(topic, [message(1)]);
    let inHand = 0;
    let most = 0;
    const { held, release } = gate();
    const first = member(
      topic,
      {},
      {
        async batch(batch) {
          inHand += 1;
          most = Math.max(most, inHand);
          await held;
          inHand -= 1;
          return outcomeDone(batch);
        },
      },
    );
    await until('a batch in hand', () => inHand === 1);
    // The partition goes to one of the two members, and comes back when the second has left.
    const second = member(topic, {}, { assigned: async () => new Map() });
    await until('a rebalance', () => first.revoked.length > 0 || second.ranges.length > 0, {
      timeoutMs: 3000,
    }).catch(() => undefined);
    await second.stop();
    release();
    await until('the record', () => count(first) > 0);
    assert.equal(most, 1);
  });

  it('goes on after its broker was away, without losing or repeating an offset', async () => {
    const topic = await topics.topic('away', 1);
    const [host, port] = (testStack().kafka.brokers[0] ?? '').split(':');
    const proxy = await cuttingProxy(host ?? '', Number(port));
    const troubles: (string | null)[] = [];
    const reader = member(topic, {
      kafka: kafkaThrough(proxy),
      onTrouble: (error) => troubles.push(error?.kind ?? null),
    });
    await topics.produce(topic, [message(0)]);
    await until('the first record', () => count(reader) === 1);
    proxy.refuse(true);
    await until('a trouble', () => troubles.includes('transient'));
    await topics.produce(topic, [message(1)]);
    proxy.refuse(false);
    await until('the second record', () => count(reader) === 2);
    assert.deepEqual(reader.seen.get(0), [0, 1]);
    await until('the all-clear', () => troubles.at(-1) === null);
    await reader.stop();
    await proxy.close();
  });

  it('tells of a missing topic, and reads once a person has made it', async () => {
    const name = `late-${randomUUID().slice(0, 8)}`;
    const troubles: (DeltaferryError | null)[] = [];
    const reader = member(`${topics.prefix}-${name}`, {
      askAgainMs: 200,
      onTrouble: (error) => troubles.push(error),
    });
    const trouble = await until('a trouble', () => troubles[0]);
    assert.ok(trouble instanceof OperatorError && trouble.code === 'KAFKA_TOPIC_MISSING');
    assert.match(trouble.remedy ?? '', /deltaferry setup/);
    const topic = await topics.topic(name, 1);
    await topics.produce(topic, [message(1)]);
    await until('the record', () => count(reader) === 1);
    assert.equal(troubles.at(-1), null);
  });

  function read(partition: number, ...from: Member[]): number {
    return from.reduce((sum, { seen }) => sum + (seen.get(partition)?.length ?? 0), 0);
  }

  async function deleteBefore(topic: string, offset: number): Promise<void> {
    const admin = topics.kafka.admin();
    await admin.connect();
    // Makes kafkajs look for the leaders.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(offset) }] });
    await admin.disconnect();
  }
});
