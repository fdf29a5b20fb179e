import { randomUUID } from 'node:crypto';
import kafkajs, { type Kafka, type Message } from 'kafkajs';
import { openKafka } from '../../../src/connections/kafka/client.ts';
import { topicsAdmin } from '../../../src/connections/kafka/admin.ts';
import type { StreamRecord } from '../../../src/ports/record-stream.ts';
import { testStack } from '../../support/stack.ts';
import { committedRecords } from '../../support/topic-check.ts';

export interface OwnTopics {
  readonly kafka: Kafka;
  readonly prefix: string;
  /** Creates a topic with the file's own prefix; answers its name. */
  topic(name: string, partitions: number, config?: Readonly<Record<string, string>>): Promise<string>;
  /** Sets the topic's max.message.bytes, as a person would. */
  limit(topic: string, bytes: number): Promise<void>;
  /** Plain records, outside any transaction. */
  produce(topic: string, messages: readonly Message[]): Promise<void>;
  /** All committed records of the topic, by partition, in order, up to its end as it is now. */
  read(topic: string): Promise<ReadonlyMap<number, readonly StreamRecord[]>>;
  drop(): Promise<void>;
}

// Shorter than the time after which a broker aborts a transaction by itself: one left open fails the test.
const SETTLE_MS = 20_000;

/** Topics of one test file on the shared broker. */
export function ownTopics(file: string): OwnTopics {
  const { brokers } = testStack().kafka;
  const kafka = openKafka({ brokers, clientId: `test-${file}` });
  const prefix = `test-${file}-${randomUUID().slice(0, 8)}`;
  const admin = topicsAdmin(kafka);
  const created: string[] = [];
  // Idempotent: a topic that is new to its broker makes kafkajs send again.
  const producer = kafka.producer({
    idempotent: true,
    retry: { retries: Number.MAX_SAFE_INTEGER },
    createPartitioner:
      () =>
      ({ message }) =>
        message.partition ?? 0,
  });
  let connected: Promise<void> | undefined;

  return {
    kafka,
    prefix,
    async topic(name, partitions, config = {}) {
      const topic = `${prefix}-${name}`;
      await admin.create([{ topic, partitions, config }]);
      created.push(topic);
      return topic;
    },
    async limit(topic, bytes) {
      const altering = kafka.admin();
      await altering.connect();
      await altering.alterConfigs({
        validateOnly: false,
        resources: [
          {
            type: kafkajs.ConfigResourceTypes.TOPIC,
            name: topic,
            configEntries: [{ name: 'max.message.bytes', value: String(bytes) }],
          },
        ],
      });
      await altering.disconnect();
    },
    async produce(topic, messages) {
      connected ??= producer.connect();
      await connected;
      await producer.send({ topic, messages: [...messages] });
    },
    read: (topic) => committedRecords(kafka, topic, SETTLE_MS),
    async drop() {
      if (connected !== undefined) await producer.disconnect();
      await admin.close();
      const deleting = kafka.admin();
      await deleting.connect();
      if (created.length > 0) await deleting.deleteTopics({ topics: created });
      await deleting.disconnect();
    },
  };
}

/** Values of all partitions as text, in partition order. */
export function texts(records: ReadonlyMap<number, readonly StreamRecord[]>): string[] {
  return [...records.values()]
    .flat()
    .map(({ value }) => (value === null ? '' : Buffer.from(value).toString()));
}
