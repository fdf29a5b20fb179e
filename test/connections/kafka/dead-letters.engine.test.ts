import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { topicsAdmin, type TopicsAdmin } from '../../../src/connections/kafka/admin.ts';
import { createDeadLetters } from '../../../src/connections/kafka/dead-letters.ts';
import { OperatorError } from '../../../src/errors.ts';
import { until } from '../../support/until.ts';
import { ownTopics, texts, type OwnTopics } from './own-topics.ts';

describe('dead letters on Kafka', () => {
  let topics: OwnTopics;
  before(() => {
    topics = ownTopics('dead-letters');
  });
  after(() => topics.drop());

  it('keeps key and value as they were and says why, with a null key and a null value too', async () => {
    const topic = await topics.topic('letters', 1);
    const letters = createDeadLetters({ kafka: topics.kafka, topic });
    const about = {
      errorCode: 'UNDECODABLE',
      errorMessage: 'not Avro: é',
      topic: 'changes',
      partition: 3,
      firstSeen: 7,
    };
    await letters.send([
      { ...about, key: Buffer.from('k'), value: new Uint8Array([0, 1, 255]), offset: 2n ** 53n + 1n },
      { ...about, key: null, value: null, offset: 5n },
    ]);
    await letters.close();
    const consumer = topics.kafka.consumer({ groupId: topic, maxWaitTimeInMs: 50 });
    const seen: { key: Buffer | null; value: Buffer | null; headers: Record<string, string> }[] = [];
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message: { key, value, headers = {} } }) => {
        const texts = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, String(text)]));
        seen.push({ key, value, headers: texts });
      },
    });
    await until('both letters', () => seen.length === 2);
    await consumer.disconnect();
    const headers = {
      'error.code': 'UNDECODABLE',
      'error.message': 'not Avro: é',
      topic: 'changes',
      partition: '3',
      offset: '9007199254740993',
      'first.seen': '7',
    };
    assert.deepEqual(seen, [
      { key: Buffer.from('k'), value: Buffer.from([0, 1, 255]), headers },
      { key: null, value: null, headers: { ...headers, offset: '5' } },
    ]);
  });

  it('says which topic is missing, and works once it is there', async () => {
    const letters = createDeadLetters({ kafka: topics.kafka, topic: `${topics.prefix}-later` });
    const letter = {
      key: null,
      value: null,
      errorCode: 'X',
      errorMessage: '',
      topic: 't',
      partition: 0,
      offset: 0n,
      firstSeen: 0,
    };
    await assert.rejects(letters.send([letter]), (error) => {
      assert.ok(error instanceof OperatorError && error.code === 'KAFKA_TOPIC_MISSING');
      assert.ok(error.message.includes(`${topics.prefix}-later`));
      return true;
    });
    await topics.topic('later', 1);
    await letters.send([letter]);
    await letters.close();
  });
});

describe('large dead letters', () => {
  const topics = ownTopics('large-letters');
  after(() => topics.drop());
  const letter = (offset: bigint, length: number) => ({
    key: Buffer.from(`k${offset}`),
    value: randomBytes(length),
    errorCode: 'X',
    errorMessage: '',
    topic: 't',
    partition: 0,
    offset,
    firstSeen: 0,
  });

  it('are written though together they are larger than a record batch may be', async () => {
    const topic = await topics.topic('together', 1);
    const letters = createDeadLetters({ kafka: topics.kafka, topic });
    const sent = [0n, 1n, 2n].map((offset) => letter(offset, 900_000));
    await letters.send(sent);
    await letters.close();
    const [found = []] = (await topics.read(topic)).values();
    assert.deepEqual(
      found.map(({ value }) => value),
      sent.map(({ value }) => value),
    );
  });

  it('are as large as they were on the changes topic, at most: text that was compressed there is here', async () => {
    const topic = await topics.topic('compressed', 1);
    const letters = createDeadLetters({ kafka: topics.kafka, topic });
    await letters.send([{ ...letter(0n, 0), value: Buffer.alloc(5_000_000, 'text ') }]);
    await letters.close();
    assert.equal(texts(await topics.read(topic))[0]?.length, 5_000_000);
  });

  it('name the topic, the key and the command where one is larger than the topic takes', async () => {
    const topic = await topics.topic('refused', 1, { 'max.message.bytes': '2000' });
    const letters = createDeadLetters({ kafka: topics.kafka, topic });
    await assert.rejects(letters.send([letter(7n, 5000)]), (error) => {
      assert.ok(error instanceof OperatorError && error.code === 'KAFKA_RECORD_TOO_LARGE');
      assert.match(error.message, /key k7 .*takes 2000 \(max\.message\.bytes\)/);
      assert.ok(error.message.includes(topic) && error.remedy?.includes(`--topic ${topic} --add-config`));
      return true;
    });
    await topics.limit(topic, 10_000);
    // The broker hears of it a moment later.
    await until('the letter to be taken', () => letters.send([letter(7n, 5000)]).then(() => true));
    await letters.close();
    assert.equal(texts(await topics.read(topic)).length, 1);
  });
});

describe('topics as setup sees them', () => {
  let topics: OwnTopics;
  let admin: TopicsAdmin;
  before(() => {
    topics = ownTopics('admin');
    admin = topicsAdmin(topics.kafka);
  });
  after(async () => {
    await admin.close();
    await topics.drop();
  });

  it('describes those that exist and leaves out the others', async () => {
    const topic = await topics.topic('described', 3, {
      'retention.ms': '12345',
      'cleanup.policy': 'compact',
    });
    const found = await admin.describe([topic, `${topics.prefix}-missing`]);
    assert.deepEqual([...found.keys()], [topic]);
    const facts = found.get(topic);
    assert.deepEqual([facts?.partitions, facts?.replication], [3, 1]);
    assert.deepEqual([facts?.config['retention.ms'], facts?.config['cleanup.policy']], ['12345', 'compact']);
    assert.ok(facts?.config['max.message.bytes'] !== undefined, 'defaults are included');
  });

  it('leaves a topic that exists as it is', async () => {
    const topic = await topics.topic('kept', 2);
    await admin.create([{ topic, partitions: 5, config: { 'retention.ms': '1' } }]);
    const facts = (await admin.describe([topic])).get(topic);
    assert.equal(facts?.partitions, 2);
    assert.notEqual(facts?.config['retention.ms'], '1');
  });

  it('says what the broker refuses', async () => {
    const topic = `${topics.prefix}-refused`;
    await assert.rejects(
      admin.create([{ topic, partitions: 1, config: { 'no.such.setting': '1' } }]),
      (error) => {
        assert.ok(error instanceof OperatorError && error.code === 'KAFKA_REFUSED');
        assert.ok(error.message.includes(topic));
        return true;
      },
    );
  });
});
