import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import { TransientError } from '../../errors.ts';
import { sleep } from '../../flow/sleep.ts';
import { disconnected } from './cluster.ts';
import { protocolErrorOf, translateKafka } from './errors.ts';

/** A topic as the broker has it. */
export interface TopicFacts {
  readonly partitions: number;
  readonly replication: number;
  /** Effective settings, defaults included, by Kafka's names (`cleanup.policy`, `retention.ms`, …). */
  readonly config: Readonly<Record<string, string>>;
}

export interface NewTopic {
  readonly topic: string;
  readonly partitions: number;
  /** Settings that differ from the broker's defaults. */
  readonly config: Readonly<Record<string, string>>;
}

export interface TopicsAdmin {
  /** Those of the topics that exist; the others are left out. */
  describe(topics: readonly string[]): Promise<ReadonlyMap<string, TopicFacts>>;
  /** Creates them with the broker's default replication; one that exists by now is left as it is. */
  create(topics: readonly NewTopic[]): Promise<void>;
  close(): Promise<void>;
}

// The broker's own default.
const DEFAULT_REPLICATION = -1;
const SPREADING_MS = 15_000;

/** Topics as setup needs them: described and created, never altered. */
export function topicsAdmin(kafka: Kafka): TopicsAdmin {
  let connected: Promise<Admin> | undefined;

  function admin(): Promise<Admin> {
    connected ??= (async () => {
      const opened = kafka.admin();
      await opened.connect();
      return opened;
    })().catch((error: unknown) => {
      connected = undefined;
      throw error;
    });
    return connected;
  }

  async function describe(topics: readonly string[]): Promise<ReadonlyMap<string, TopicFacts>> {
    try {
      const existing = new Set(await (await admin()).listTopics());
      const found = topics.filter((topic) => existing.has(topic));
      if (found.length === 0) return new Map();
      const { topics: metadata } = await (await admin()).fetchTopicMetadata({ topics: found });
      const { resources } = await (
        await admin()
      ).describeConfigs({
        includeSynonyms: false,
        resources: found.map((name) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name })),
      });
      return new Map(
        metadata.map(({ name, partitions }) => {
          const entries = resources.find((each) => each.resourceName === name)?.configEntries ?? [];
          const config = Object.fromEntries(
            entries.map(({ configName, configValue }) => [configName, configValue]),
          );
          const replication = partitions[0]?.replicas.length ?? 0;
          return [name, { partitions: partitions.length, replication, config }];
        }),
      );
    } catch (error) {
      const names = topics.join(', ');
      const topicGrant = `Describe and DescribeConfigs on ${names}`;
      throw translateKafka(error, { doing: `describing ${names}`, topicGrant });
    }
  }

  async function create(topics: readonly NewTopic[]): Promise<void> {
    for (const wanted of topics) await createOne(wanted);
    for (const { topic } of topics) await usable(topic);
  }

  async function createOne({ topic, partitions, config }: NewTopic): Promise<void> {
    const deadline = Date.now() + SPREADING_MS;
    const never = new AbortController().signal;
    for (;;) {
      try {
        // Answers false where the topic exists.
        await (
          await admin()
        ).createTopics({
          // Its waiting fails on a broker that has not heard of the topic yet.
          waitForLeaders: false,
          topics: [
            {
              topic,
              numPartitions: partitions,
              replicationFactor: DEFAULT_REPLICATION,
              configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
            },
          ],
        });
        return;
      } catch (error) {
        const cause = (error as { errors?: readonly unknown[] }).errors?.[0] ?? error;
        const answer = protocolErrorOf(cause);
        if (answer === 'TOPIC_ALREADY_EXISTS') return;
        // Also the answer while brokers that have just started are not counted in yet.
        if (answer !== 'INVALID_REPLICATION_FACTOR' || Date.now() > deadline)
          throw translateKafka(cause, { doing: 'creating the topic', topic });
      }
      await sleep(200, never);
    }
  }

  /** A topic takes a moment to spread through the cluster and to get its leaders. */
  async function usable(topic: string): Promise<void> {
    const deadline = Date.now() + SPREADING_MS;
    const never = new AbortController().signal;
    for (;;) {
      try {
        const { topics: found } = await (await admin()).fetchTopicMetadata({ topics: [topic] });
        if (found[0]?.partitions.every(({ leader }) => leader >= 0) === true) return;
      } catch (error) {
        const answer = protocolErrorOf(error) ?? '';
        if (!['UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE'].includes(answer) || Date.now() > deadline)
          throw translateKafka(error, { doing: 'waiting for the new topic', topic });
      }
      if (Date.now() > deadline)
        throw new TransientError({
          code: 'KAFKA_NO_LEADER',
          message: `The new topic ${topic} has no leaders yet.`,
        });
      await sleep(50, never);
    }
  }

  return {
    describe,
    create,
    async close() {
      const closing = connected;
      connected = undefined;
      if (closing === undefined) return;
      await disconnected(closing.then((opened) => opened.disconnect()));
    },
  };
}
