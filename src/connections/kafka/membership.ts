import { setImmediate } from 'node:timers/promises';
import type { Cluster, Kafka } from 'kafkajs';
import type { DeltaferryError } from '../../errors.ts';
import type { KafkaLogger } from './client.ts';
import { atMost, consumerWithCluster } from './cluster.ts';
import { translateKafka } from './errors.ts';

export interface MembershipOptions {
  readonly kafka: Kafka;
  readonly groupId: string;
  readonly topic: string;
  readonly sessionTimeoutMs: number;
  readonly logger: KafkaLogger;
  /** After every rebalance: all partitions of the topic that are ours now. */
  readonly onAssignment: (partitions: readonly number[], cluster: Cluster) => void;
  /** kafkajs gave up; the membership is over and wants to be left. */
  readonly onLost: (error: DeltaferryError) => void;
}

/** Our place in a consumer group. */
export interface Membership {
  readonly cluster: Cluster;
  /** Kafka's own note of the offsets, which lag tools read. Throws kafkajs's errors. */
  commit(offsets: ReadonlyMap<number, bigint>): Promise<void>;
  leave(): Promise<void>;
}

// How often kafkajs's idle loop turns: it bounds how late a heartbeat or a stop can be.
const IDLE_TURN_MS = 100;
const LEAVE_MS = 3000;

/**
 * Joins the group with a kafkajs consumer whose partitions are all paused: it keeps the heartbeat
 * going however long a batch takes, takes part in rebalances, and never fetches.
 */
export async function joinGroup(options: MembershipOptions): Promise<Membership> {
  const { kafka, groupId, topic, sessionTimeoutMs, logger } = options;
  let rebalancing = false;
  let leaving = false;
  /** Resolves when kafkajs is not on its way into the group: it is in it, or has given up. */
  let arrived = Promise.resolve();
  let arrive = (): void => {};
  /** kafkajs tries a commit again and again, and connects anew for it also after it was disconnected. */
  let committing: Promise<unknown> = Promise.resolve();
  const setOut = (): void => {
    ({ promise: arrived, resolve: arrive } = Promise.withResolvers<void>());
  };
  const where = { doing: 'reading as a member of the group', topic, group: groupId };
  const { consumer, cluster } = consumerWithCluster(kafka, {
    groupId,
    sessionTimeout: sessionTimeoutMs,
    heartbeatInterval: Math.min(3000, Math.floor(sessionTimeoutMs / 3)),
    maxWaitTimeInMs: IDLE_TURN_MS,
    retry: {
      initialRetryTime: 50,
      maxRetryTime: 500,
      retries: 20,
      restartOnFailure(error) {
        const again = !leaving && translateKafka(error, where).kind === 'transient';
        if (again) setOut();
        return Promise.resolve(again);
      },
    },
  });
  consumer.on(consumer.events.REBALANCING, () => {
    rebalancing = true;
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    rebalancing = false;
    arrive();
    if (leaving) return;
    // Emitted before the first fetch can begin; holds for every later assignment too.
    consumer.pause([{ topic }]);
    const partitions = payload.memberAssignment[topic] ?? [];
    options.onAssignment(
      [...partitions].sort((a, b) => a - b),
      cluster,
    );
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (payload.restart) return;
    arrive();
    if (!leaving) options.onLost(translateKafka(payload.error, where));
  });

  /**
   * kafkajs cannot be stopped on its way into the group: it would join all the same, and hold partitions that
   * nobody reads for as long as the process lives. It is stopped when it has arrived, be it later.
   */
  async function leave(): Promise<void> {
    leaving = true;
    const left = arrived
      // Only now has kafkajs noted that it runs.
      .then(() => setImmediate())
      .then(() => consumer.disconnect())
      .then(() => void committing.then(() => cluster.disconnect()).catch(() => {}))
      .catch((error: unknown) => {
        logger.warn({ err: error, topic, group: groupId }, 'leaving the consumer group failed');
      });
    await atMost(LEAVE_MS, left);
  }

  try {
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: () => Promise.resolve(),
    });
  } catch (error) {
    await leave();
    throw translateKafka(error, where);
  }
  return {
    cluster,
    async commit(offsets) {
      if (rebalancing || leaving || offsets.size === 0) return;
      const commit = consumer.commitOffsets(
        [...offsets].map(([partition, offset]) => ({ topic, partition, offset: offset.toString() })),
      );
      committing = Promise.allSettled([committing, commit]);
      await commit;
    },
    leave,
  };
}
