import { randomUUID } from 'node:crypto';
import type { Kafka, Message } from 'kafkajs';
import { openKafka } from '../../../src/connections/kafka/client.ts';
import { topicsAdmin } from '../../../src/connections/kafka/admin.ts';
import { createRecordStream } from '../../../src/connections/kafka/record-stream.ts';
import type { StreamRecord } from '../../../src/ports/record-stream.ts';
import { testStack } from '../../support/stack.ts';
import { until } from '../../support/until.ts';

export interface OwnTopics {
  readonly kafka: Kafka;
  readonly prefix: string;
  /** Creates a topic with the file's own prefix; answers its name. */
  topic(name: string, partitions: number, config?: Readonly<Record<string, string>>): Promise<string>;
  /** Plain records, outside any transaction. */
  produce(topic: string, messages: readonly Message[]): Promise<void>;
  /** All committed records of the topic, by partition, in order, up to its end as it is now. */
  read(topic: string): Promise<ReadonlyMap<number, readonly StreamRecord[]>>;
  drop(): Promise<void>;
}

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
    async produce(topic, messages) {
      connected ??= producer.connect();
      await connected;
      await producer.send({ topic, messages: [...messages] });
    },
    async read(topic) {
      const found = new Map<number, StreamRecord[]>();
      const left = new Map<number, bigint>();
      const stop = new AbortController();
      let asked = false;
      const running = createRecordStream({ kafka, groupId: `${prefix}-${randomUUID()}`, topic }).run(
        {
          async assigned(ranges) {
            for (const [partition, { low, high }] of ranges) {
              found.set(partition, []);
              if (high > low) left.set(partition, high);
            }
            asked = true;
            return new Map([...ranges].map(([partition, { low }]) => [partition, low]));
          },
          revoked: () => undefined,
          async batch({ partition, records, next }) {
            found.get(partition)?.push(...records);
            if (next >= (left.get(partition) ?? 0n)) left.delete(partition);
            return { kind: 'done', next };
          },
        },
        stop.signal,
      );
      try {
        await Promise.race([running, until(`the end of ${topic}`, () => asked && left.size === 0)]);
      } finally {
        stop.abort();
        await running;
      }
      return found;
    },
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
