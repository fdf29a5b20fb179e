import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Change } from '../../../src/change/change.ts';
import { topicsAdmin } from '../../../src/connections/kafka/admin.ts';
import { createChangeLog } from '../../../src/connections/kafka/change-log.ts';
import { openKafka } from '../../../src/connections/kafka/client.ts';
import { createRecordStream } from '../../../src/connections/kafka/record-stream.ts';
import { TransientError } from '../../../src/errors.ts';
import { startBrokerCluster } from '../../support/broker-cluster.ts';
import { committedRecords } from '../../support/topic-check.ts';
import { undoing } from '../../support/undoing.ts';
import { until } from '../../support/until.ts';

const BROKERS = 3;
const PARTITIONS = 6;
const MOVES = 30;
const PER_TRANSACTION = 60;

const change = (position: number): Change => ({
  op: 'insert',
  key: `k${position % 97}`,
  before: null,
  after: [],
  origin: 'delta',
  table: 't',
  position,
  ts: 0,
  tx: null,
  load: null,
});

const numberOf = (value: Uint8Array | null): number => Number(Buffer.from(value!).toString());

describe('a change log on several brokers', () => {
  const later = undoing();

  it(
    'has each change exactly once and in order while its partitions move from broker to broker',
    { timeout: 180_000 },
    async () => {
      const cluster = later(await startBrokerCluster(BROKERS), (made) => made.stop());
      const kafka = openKafka({ brokers: cluster.brokers, clientId: 'test-brokers' });
      const topics = later(topicsAdmin(kafka), (made) => made.close());
      await topics.create([
        { topic: 'changes', partitions: PARTITIONS, config: {} },
        { topic: 'dead', partitions: 1, config: {} },
        { topic: 'positions', partitions: 1, config: { 'cleanup.policy': 'compact' } },
      ]);
      const admin = kafka.admin();
      await admin.connect();
      later(admin, (made) => made.disconnect());
      const log = createChangeLog({
        kafka,
        producerName: 'test',
        table: 't',
        topic: 'changes',
        partitions: PARTITIONS,
        deadLetterTopic: 'dead',
        positionsTopic: 'positions',
        encode: ({ position }) => Buffer.from(String(position)),
      });
      later(log, (made) => made.close());

      async function leaders(): Promise<string> {
        const { topics: found } = await admin.fetchTopicMetadata({ topics: ['changes'] });
        return found[0]!.partitions
          .toSorted((one, other) => one.partitionId - other.partitionId)
          .map(({ leader }) => leader)
          .join();
      }

      const read: number[][] = Array.from({ length: PARTITIONS }, () => []);
      const stop = new AbortController();
      const reading = createRecordStream({ kafka, groupId: 'test-reader', topic: 'changes' }).run(
        {
          assigned: async (ranges) => new Map([...ranges].map(([partition, { low }]) => [partition, low])),
          revoked: () => undefined,
          async batch({ partition, records, next: behind }) {
            read[partition]!.push(...records.map(({ value }) => numberOf(value)));
            return { kind: 'done', next: behind };
          },
        },
        stop.signal,
      );
      later(stop, async (made) => {
        made.abort();
        await reading;
      });

      let next = 0;
      let published = 0;
      let moving = true;
      const led = new Set<string>();
      async function move(): Promise<void> {
        try {
          for (let n = 0; n < MOVES; n++) {
            // Each partition goes to the next broker, two at a time, so that the others stay where they are.
            const moved = [n, n + 3].map((at) => ({
              partition: at % PARTITIONS,
              replicas: [1 + ((at + Math.floor(n / 2)) % BROKERS)],
            }));
            await admin.alterPartitionReassignments({
              topics: [{ topic: 'changes', partitionAssignment: moved }],
            });
            led.add(await leaders());
            const before = published;
            await until('more to be published', () => published > before + 1, {
              timeoutMs: 60_000,
              everyMs: 5,
            });
          }
        } finally {
          moving = false;
        }
      }

      let failures = 0;
      async function publish(): Promise<void> {
        while (moving) {
          const position = await log.open();
          next = Number(position?.['next'] ?? 0);
          try {
            while (moving) {
              const to = next + PER_TRANSACTION;
              const changes = Array.from({ length: PER_TRANSACTION }, (_, at) => change(next + at));
              await log.publish({ changes, rejected: [], position: { next: to } });
              next = to;
              published += 1;
            }
          } catch (error) {
            if (!(error instanceof TransientError)) throw error;
            failures += 1;
          }
        }
      }

      await Promise.all([move(), publish()]);
      next = Number((await log.open())?.['next']);
      const records = await committedRecords(kafka, 'changes');
      const found = [...records.values()].map((list) => list.map(({ value }) => numberOf(value)));
      assert.deepEqual(
        found.flat().toSorted((one, other) => one - other),
        Array.from({ length: next }, (_, at) => at),
      );
      for (const list of found)
        assert.deepEqual(
          list,
          list.toSorted((one, other) => one - other),
        );
      assert.ok(led.size > MOVES / 4, `only ${led.size} sharings out in ${MOVES} moves`);
      console.log(`${next} changes, ${led.size} sharings out, ${failures} transactions begun again`);
    },
  );
});
