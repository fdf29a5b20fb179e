import { randomUUID } from 'node:crypto';
import type { Kafka } from 'kafkajs';
import { consumerWithCluster } from '../../src/connections/kafka/cluster.ts';
import { until } from './until.ts';

/** By partition: the offset up to which everything is decided; kafkajs asks for no other. */
export async function topicEnds(kafka: Kafka, topic: string): Promise<number[]> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const offsets = await admin.fetchTopicOffsets(topic);
    return offsets.sort((one, other) => one.partition - other.partition).map(({ high }) => Number(high));
  } finally {
    await admin.disconnect();
  }
}

/**
 * The same once no transaction is open: a broker answers a commit before it has written the marks that
 * make the records visible.
 */
export async function settledEnds(kafka: Kafka, topic: string, timeoutMs = 40_000): Promise<number[]> {
  return until(
    `the transactions on ${topic} to be decided`,
    async () => {
      const written = await writtenEnds(kafka, topic);
      const decided = await topicEnds(kafka, topic);
      return decided.every((end, partition) => end >= (written[partition] ?? 0)) && decided;
    },
    { timeoutMs, everyMs: 50 },
  );
}

/** By partition: the offset after the last record, whether its transaction is decided or not. */
async function writtenEnds(kafka: Kafka, topic: string): Promise<number[]> {
  const { consumer, cluster } = consumerWithCluster(kafka, {
    groupId: `test-ends-${randomUUID()}`,
    readUncommitted: true,
  });
  try {
    await cluster.connect();
    await cluster.addTargetTopic(topic);
    await cluster.refreshMetadataIfNecessary();
    const partitions = cluster
      .findTopicPartitionMetadata(topic)
      .map(({ partitionId }) => ({ partition: partitionId }));
    const [answer] = await cluster.fetchTopicsOffset([{ topic, partitions, fromBeginning: false }]);
    return answer!.partitions
      .sort((one, other) => one.partition - other.partition)
      .map(({ offset }) => Number(offset));
  } finally {
    await consumer.disconnect();
  }
}
