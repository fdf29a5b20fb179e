import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import type { Kafka } from 'kafkajs';
import type { Change } from '../../../src/change/change.ts';
import { createChangeLog, type ChangeLogOptions } from '../../../src/connections/kafka/change-log.ts';
import { partitionOf } from '../../../src/connections/kafka/partitioner.ts';
import { FencedError, OperatorError } from '../../../src/errors.ts';
import type { ChangeLog, RejectedChange } from '../../../src/ports/change-log.ts';
import { testStack } from '../../support/stack.ts';
import { until } from '../../support/until.ts';
import { API, cuttingProxy, kafkaThrough, type Cut, type CuttingProxy } from './cutting-proxy.ts';
import { ownTopics, texts, type OwnTopics } from './own-topics.ts';

const PARTITIONS = 4;

describe('change log on Kafka', () => {
  let topics: OwnTopics;
  let positionsTopic: string;
  let logs: ChangeLog[] = [];
  let number = 0;

  before(async () => {
    topics = ownTopics('change-log');
    positionsTopic = await topics.topic('positions', 1, { 'cleanup.policy': 'compact' });
  });
  after(async () => {
    await Promise.all(logs.map((log) => log.close()));
    await topics.drop();
  });

  /** Topics of one test, and logs on them. */
  async function fresh(config: Readonly<Record<string, string>> = {}) {
    const table = `t${++number}`;
    const topic = await topics.topic(`${table}-changes`, PARTITIONS, config);
    const deadLetterTopic = await topics.topic(`${table}-dead`, 1);
    const log = (more: Partial<ChangeLogOptions> = {}): ChangeLog => {
      const made = createChangeLog({
        kafka: topics.kafka,
        producerName: topics.prefix,
        table,
        topic,
        partitions: PARTITIONS,
        deadLetterTopic,
        positionsTopic,
        encode: (change) => Buffer.from(String(change.position)),
        ...more,
      });
      logs.push(made);
      return made;
    };
    return { table, topic, deadLetterTopic, log };
  }

  const change = (position: number, key = `k${position % 17}`): Change => ({
    op: 'insert',
    key,
    before: null,
    after: [],
    origin: 'delta',
    table: 't',
    position,
    ts: 0,
    tx: null,
    load: null,
  });
  const changes = (from: number, to: number): Change[] =>
    Array.from({ length: to - from }, (_, at) => change(from + at));
  const numbers = (list: readonly string[]): number[] => list.map(Number).sort((a, b) => a - b);
  const range = (to: number): number[] => Array.from({ length: to }, (_, at) => at);

  it('starts without a position, and finds the last one again', async () => {
    const { log } = await fresh();
    const first = log();
    assert.equal(await first.open(), null);
    await first.publish({ changes: changes(0, 3), rejected: [], position: { version: 1 } });
    await first.publish({ changes: [], rejected: [], position: { version: 2, text: 'é' } });
    await first.close();
    assert.deepEqual(await log().open(), { version: 2, text: 'é' });
    const other = await fresh();
    assert.equal(await other.log().open(), null, "another table's position is not taken for one's own");
  });

  it('keeps every key in its partition and in order, also beyond one request', async () => {
    const { topic, log } = await fresh();
    const writer = log();
    await writer.open();
    const many = 25_000;
    await writer.publish({ changes: changes(0, many), rejected: [], position: { v: 1 } });
    await writer.publish({ changes: changes(many, many + 100), rejected: [], position: { v: 2 } });
    const read = await topics.read(topic);
    assert.deepEqual(numbers(texts(read)), range(many + 100));
    for (const [partition, records] of read) {
      const positions = records.map(({ value }) => Number(Buffer.from(value ?? []).toString()));
      assert.deepEqual(
        positions,
        positions.toSorted((a, b) => a - b),
      );
      for (const { key } of records)
        assert.equal(partitionOf(key ?? new Uint8Array(), PARTITIONS), partition);
    }
  });

  it('cuts requests by size: rows far larger than a message together are no problem', async () => {
    const { topic, log } = await fresh();
    const large = Buffer.alloc(200_000, 'x');
    const writer = log({ encode: () => large, compression: 'none' });
    await writer.open();
    await writer.publish({ changes: changes(0, 40), rejected: [], position: { v: 1 } });
    assert.equal(texts(await topics.read(topic)).length, 40);
  });

  it('writes rejected rows to the dead letters with their cause', async () => {
    const { deadLetterTopic, log } = await fresh();
    const writer = log();
    await writer.open();
    const rejected = (position: number): RejectedChange => ({
      key: 'k',
      table: 't',
      code: 'DUPLICATE_KEY',
      message: 'twice in one version',
      position,
      ts: 5,
      payload: `{"n":${position}}`,
    });
    await writer.publish({ changes: changes(0, 2), rejected: range(450).map(rejected), position: { v: 1 } });
    const letters = texts(await topics.read(deadLetterTopic));
    assert.deepEqual(
      letters,
      range(450).map((n) => `{"n":${n}}`),
    );
  });

  it('fences the former owner: nothing of it becomes visible', async () => {
    const { topic, log } = await fresh();
    const former = log();
    const current = log();
    await former.open();
    await former.publish({ changes: changes(0, 2), rejected: [], position: { v: 1 } });
    assert.deepEqual(await current.open(), { v: 1 });
    await assert.rejects(
      former.publish({ changes: changes(100, 102), rejected: [], position: { v: 100 } }),
      FencedError,
    );
    await current.publish({ changes: changes(2, 4), rejected: [], position: { v: 2 } });
    assert.deepEqual(numbers(texts(await topics.read(topic))), range(4));
    assert.deepEqual(await log().open(), { v: 2 });
  });

  it('leaves the owner of another deployment alone, which has a table of the same name', async () => {
    const { topic, log } = await fresh();
    const elsewhere = await topics.topic('positions-elsewhere', 1, { 'cleanup.policy': 'compact' });
    const other = await fresh();
    const [ours, theirs] = [log(), log({ topic: other.topic, positionsTopic: elsewhere })];
    await ours.open();
    assert.equal(await theirs.open(), null);
    await ours.publish({ changes: changes(0, 2), rejected: [], position: { v: 1 } });
    await theirs.publish({ changes: changes(0, 1), rejected: [], position: { v: 9 } });
    assert.deepEqual(numbers(texts(await topics.read(topic))), range(2));
    assert.deepEqual(await log().open(), { v: 1 });
  });

  it('settles what a dead owner left open, at once', async () => {
    const { table, topic, log } = await fresh();
    const dead = topics.kafka.producer({ transactionalId: `${positionsTopic}.${topics.prefix}.${table}` });
    await dead.connect();
    const transaction = await dead.transaction();
    await transaction.send({ topic, messages: [{ key: 'k', value: '666', partition: 0 }] });
    await transaction.send({
      topic: positionsTopic,
      messages: [{ key: `${topics.prefix}/${table}`, value: '{"v":666}', partition: 0 }],
    });
    const next = log();
    assert.equal(await next.open(), null);
    await next.publish({ changes: changes(0, 1), rejected: [], position: { v: 1 } });
    assert.deepEqual(texts(await topics.read(topic)), ['0']);
    await dead.disconnect();
  });

  it('refuses a record that the topic does not take, names it, and goes on once the limit is raised', async () => {
    const { topic, log } = await fresh({ 'max.message.bytes': '2000' });
    const writer = log({
      compression: 'none',
      encode: ({ position }) => Buffer.alloc(position === 7 ? 5000 : 10, 'x'),
    });
    const batch = { changes: [change(1), change(7)], rejected: [], position: { v: 7 } };
    await writer.open();
    await assert.rejects(writer.publish(batch), (error) => {
      assert.ok(error instanceof OperatorError);
      assert.equal(error.code, 'KAFKA_RECORD_TOO_LARGE');
      assert.equal(
        error.message,
        `Topic ${topic} refused a record: that of key k7 has 5002 bytes before compression, and the topic takes 2000 (max.message.bytes).`,
      );
      assert.ok(
        error.remedy?.includes(
          `--bootstrap-server <broker> --alter --topic ${topic} --add-config max.message.bytes=`,
        ),
      );
      return true;
    });
    // Nobody has opened the log again: readers must not wait for the transaction's timeout.
    assert.deepEqual(texts(await topics.read(topic)), []);
    assert.equal(await writer.open(), null);
    await writer.publish({ changes: [change(1)], rejected: [], position: { v: 1 } });
    await topics.limit(topic, 10_000);
    // The broker hears of it a moment later.
    await until('the record to be taken', async () => {
      await writer.open();
      await writer.publish(batch);
      return true;
    });
    assert.deepEqual(
      texts(await topics.read(topic))
        .map(({ length }) => length)
        .sort(),
      [10, 10, 5000],
    );
  });

  it('does not let a rejected row hold up the others, however large it is', async () => {
    const { topic, deadLetterTopic, log } = await fresh();
    const writer = log();
    await writer.open();
    const rejected = (length: number): RejectedChange => ({
      key: 'k',
      table: 't',
      code: 'DUPLICATE_KEY',
      message: 'twice in one version',
      position: 1,
      ts: 5,
      payload: JSON.stringify(randomBytes(length).toString('base64').slice(0, length)),
    });
    const letters = [rejected(900_000), rejected(900_000), rejected(5_000_000)];
    await writer.publish({ changes: changes(0, 2), rejected: letters, position: { v: 1 } });
    assert.equal(texts(await topics.read(topic)).length, 2);
    const [first, second, cut = ''] = texts(await topics.read(deadLetterTopic));
    assert.deepEqual([first, second], [letters[0]!.payload, letters[1]!.payload]);
    const { begins } = JSON.parse(cut) as { begins: string };
    assert.ok(begins.length > 100_000 && letters[2]!.payload.startsWith(begins));
  });

  it('refuses another number of partitions: keys would move', async () => {
    const { log } = await fresh();
    await assert.rejects(log({ partitions: 8 }).open(), (error) => {
      assert.ok(error instanceof OperatorError && error.code === 'TOPIC_PARTITIONS');
      assert.match(error.remedy ?? '', /partitions: 4/);
      return true;
    });
  });

  it('names a missing topic and its remedy', async () => {
    const { log } = await fresh();
    await assert.rejects(log({ topic: `${topics.prefix}-missing` }).open(), (error) => {
      assert.ok(error instanceof OperatorError && error.code === 'KAFKA_TOPIC_MISSING');
      assert.match(error.remedy ?? '', /deltaferry setup/);
      return true;
    });
  });

  describe('when answers get lost', () => {
    let proxy: CuttingProxy;
    let unreliable: Kafka;
    before(async () => {
      const [host, port] = (testStack().kafka.brokers[0] ?? '').split(':');
      proxy = await cuttingProxy(host ?? '', Number(port));
      unreliable = kafkaThrough(proxy);
    });
    after(async () => {
      await Promise.all(logs.map((log) => log.close()));
      logs = [];
      await proxy.close();
    });

    const cases: { name: string; cuts: Cut[] }[] = [
      { name: 'the commit was done', cuts: [{ api: API.endTransaction, when: 'after' }] },
      { name: 'the commit was not done', cuts: [{ api: API.endTransaction, when: 'before' }] },
      { name: 'a send was done', cuts: [{ api: API.produce, when: 'after' }] },
      { name: 'a send was not done', cuts: [{ api: API.produce, when: 'before' }] },
      { name: 'partitions were added', cuts: [{ api: API.addPartitions, when: 'after' }] },
      {
        name: 'sends and then the commit',
        cuts: [
          { api: API.produce, when: 'after' },
          { api: API.produce, when: 'after' },
          { api: API.endTransaction, when: 'after' },
        ],
      },
    ];
    for (const { name, cuts } of cases)
      it(`publishes each change exactly once: ${name}`, async () => {
        const { topic, log } = await fresh();
        const writer = log({ kafka: unreliable });
        await writer.open();
        const already = proxy.happened;
        let next = 0;
        let failures = 0;
        for (let commit = 1; next < 5000; commit++) {
          if (commit === 2) proxy.cut(...cuts);
          try {
            await writer.publish({
              changes: changes(next, next + 2500),
              rejected: [],
              position: { next: next + 2500 },
            });
            next += 2500;
          } catch {
            // As the contract says: open again and go on from the position it returns.
            failures += 1;
            const position = await writer.open();
            next = Number(position?.['next'] ?? 0);
          }
        }
        assert.equal(proxy.happened - already, cuts.length, 'the answer was indeed lost');
        assert.deepEqual(numbers(texts(await topics.read(topic))), range(5000));
        if (cuts[0]?.api === API.endTransaction) assert.equal(failures, 1);
      });
  });
});
