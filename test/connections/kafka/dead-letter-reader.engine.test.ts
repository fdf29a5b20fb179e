import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  createDeadLetterReader,
  type DeadLetterReader,
} from '../../../src/connections/kafka/dead-letter-reader.ts';
import { OperatorError } from '../../../src/errors.ts';
import { ownTopics, type OwnTopics } from './own-topics.ts';

const LETTERS = 3000;

describe('the dead-letter reader', () => {
  let topics: OwnTopics;
  let reader: DeadLetterReader;
  let topic: string;

  before(async () => {
    topics = ownTopics('letters');
    topic = await topics.topic('many', 2);
    reader = createDeadLetterReader({ kafka: topics.kafka, topic });
    const written = Date.now() - LETTERS;
    const letter = (n: number) => ({
      key: String(n),
      value: 'x'.repeat(n % 100),
      partition: n % 2,
      timestamp: String(written + n),
      headers: { 'error.code': `CODE_${n}` },
    });
    const producer = topics.kafka.producer({
      transactionalId: `${topics.prefix}-writer`,
      maxInFlightRequests: 1,
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition ?? 0,
    });
    await producer.connect();
    for (let from = 0; from < LETTERS; from += 500) {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: Array.from({ length: 500 }, (_, n) => letter(from + n)) });
      await transaction.commit();
      const aborted = await producer.transaction();
      await aborted.send({
        topic,
        messages: [
          { ...letter(0), key: 'aborted' },
          { ...letter(1), key: 'aborted' },
        ],
      });
      await aborted.abort();
    }
    await producer.disconnect();
  });

  after(() => topics?.drop());

  const keyOf = ({ key }: { key: Uint8Array | null }) => ({ n: Number(Buffer.from(key!).toString()) });

  it('reads the newest of all partitions, newest first, committed ones only, and no more than asked for', async () => {
    const { found, complete } = await reader.newest(700, keyOf);
    assert.deepEqual(
      found.map(({ n }) => n),
      Array.from({ length: 700 }, (_, n) => LETTERS - 1 - n),
    );
    assert.equal(complete, false);
  });

  it('reads to the beginning where it must, and says that it did', async () => {
    const all = await reader.newest(LETTERS + 1, keyOf);
    assert.equal(all.complete, true);
    assert.equal(all.found.length, LETTERS);
    const old = await reader.newest(1, (letter) =>
      letter.headers.get('error.code') === 'CODE_3' ? letter : null,
    );
    assert.deepEqual(old.found.map(keyOf), [{ n: 3 }]);
  });

  it('finds a letter by its place, and none where a marker or nothing lies', async () => {
    const letter = await reader.at(1, 4n);
    assert.deepEqual(keyOf(letter!), { n: 9 });
    assert.equal(letter!.headers.get('error.code'), 'CODE_9');
    // 250 letters of a partition, then the mark of their transaction, then an aborted letter.
    for (const offset of [250n, 251n, 1_000_000n]) assert.equal(await reader.at(0, offset), null);
    assert.equal(await reader.at(9, 0n), null);
  });

  it('names setup where the topic is missing', async () => {
    const missing = createDeadLetterReader({ kafka: topics.kafka, topic: `${topic}-not` });
    await assert.rejects(
      missing.newest(1, keyOf),
      (error) =>
        error instanceof OperatorError &&
        error.code === 'KAFKA_TOPIC_MISSING' &&
        /deltaferry setup/.test(error.remedy!),
    );
  });
});
