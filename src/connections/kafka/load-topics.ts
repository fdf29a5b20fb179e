import { randomUUID } from 'node:crypto';
import type { Kafka } from 'kafkajs';
import { OperatorError } from '../../errors.ts';
import type { LoadTopics } from '../../ports/load.ts';
import { topicsAdmin } from './admin.ts';
import { alterTopicCommand } from './alter-topic.ts';
import { disconnected, consumerWithCluster, partitionCount } from './cluster.ts';
import { translateKafka } from './errors.ts';
import { latestPosition } from './latest-position.ts';
import { createLoadRecords } from './load-records.ts';

export interface LoadTopicsOptions {
  readonly kafka: Kafka;
  /** The load's topic, compacted. */
  readonly topic: string;
  readonly changesTopic: string;
  readonly partitions: number;
  /** Largest record of the topic where it is created. */
  readonly maxMessageBytes: number;
  /** Where producers keep their positions; the names of the Delta feed and of whoever publishes loads. */
  readonly positions: { readonly topic: string; readonly feed: string; readonly loads: string };
}

export function createLoadTopics(options: LoadTopicsOptions): LoadTopics {
  const { kafka, topic, changesTopic, partitions, maxMessageBytes, positions } = options;
  return {
    async prepare() {
      const topics = topicsAdmin(kafka);
      try {
        const config = { 'cleanup.policy': 'compact', 'max.message.bytes': String(maxMessageBytes) };
        if (!(await topics.describe([topic])).has(topic))
          await topics.create([{ topic, partitions, config }]);
        const found = (await topics.describe([topic])).get(topic);
        if (found === undefined) return;
        if (found.partitions !== partitions)
          throw new OperatorError({
            code: 'TOPIC_PARTITIONS',
            message: `Topic ${topic} has ${found.partitions} partitions, topic ${changesTopic} ${partitions}: a key would not have the same partition in both.`,
            remedy: `Delete topic ${topic}, which the load then creates anew, or create it with ${partitions} partitions.`,
          });
        const policy = found.config['cleanup.policy'];
        if (policy !== undefined && policy !== 'compact')
          throw new OperatorError({
            code: 'LOAD_TOPIC_POLICY',
            message: `Topic ${topic} has cleanup.policy ${policy}: rows of a load would expire.`,
            remedy: `Run ${alterTopicCommand(topic, 'cleanup.policy', 'compact')}.`,
          });
      } finally {
        await topics.close();
      }
    },
    lows: () => topicOffsets(kafka, topic, { fromBeginning: true }),
    ends: () => topicOffsets(kafka, topic, { fromBeginning: false }),
    changesLow: () => topicOffsets(kafka, changesTopic, { fromBeginning: true }),
    changesEnds: () => topicOffsets(kafka, changesTopic, { fromBeginning: false }),
    async changesBetween(from, ends, signal) {
      let found = false;
      await createLoadRecords({ kafka, topic: changesTopic }).read(
        {
          from,
          end: (partition) => ends[partition] ?? null,
          handle: async ({ records }) => {
            found ||= records.length > 0;
          },
        },
        signal,
      );
      return found;
    },
    async feedVersion(tableId) {
      const position = await latestPosition(kafka, { topic: positions.topic, owner: positions.feed });
      return position?.['tableId'] === tableId ? Number(position['version']) : null;
    },
    newestLoad: () => latestPosition(kafka, { topic: positions.topic, owner: positions.loads }),
  };
}

/**
 * Where each partition begins or ends, counting what is not decided yet: a broker answers a commit before the
 * records can be read.
 */
export async function topicOffsets(
  kafka: Kafka,
  topic: string,
  { fromBeginning }: { readonly fromBeginning: boolean },
): Promise<readonly bigint[]> {
  const { consumer, cluster } = consumerWithCluster(kafka, {
    groupId: `deltaferry-no-group-${randomUUID()}`,
    readUncommitted: true,
  });
  try {
    await cluster.connect();
    const count = await partitionCount(cluster, topic);
    const partitions = Array.from({ length: count }, (_, partition) => ({ partition }));
    const [answer] = await cluster.fetchTopicsOffset([{ topic, partitions, fromBeginning }]);
    const found = new Map(answer?.partitions.map(({ partition, offset }) => [partition, BigInt(offset)]));
    return partitions.map(({ partition }) => found.get(partition) ?? 0n);
  } catch (error) {
    throw translateKafka(error, { doing: 'asking where the topic begins and ends', topic });
  } finally {
    await disconnected(consumer.disconnect());
  }
}
