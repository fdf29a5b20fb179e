import { randomUUID } from 'node:crypto';
import kafkajs, { type Cluster, type Consumer, type ConsumerConfig, type Kafka } from 'kafkajs';

const DISCONNECT_MS = 3000;

/**
 * A consumer and the connections it uses. kafkajs hands its cluster only to partition assigners; with
 * it one can fetch without a consumer's loop, whose reset to an end of the topic, loss of aborted
 * records' marks and waiting for the slowest partition this folder cannot have.
 */
export function consumerWithCluster(
  kafka: Kafka,
  config: ConsumerConfig,
): { consumer: Consumer; cluster: Cluster } {
  let captured: Cluster | undefined;
  const consumer = kafka.consumer({
    ...config,
    allowAutoTopicCreation: false,
    partitionAssigners: [
      (environment) => {
        captured = environment.cluster;
        return kafkajs.PartitionAssigners.roundRobin(environment);
      },
    ],
  });
  if (captured === undefined) throw new Error('kafkajs no longer builds its assigners with its consumer');
  return { consumer, cluster: captured };
}

/** Connections for a piece of work outside any consumer group; closed when it ends. */
export async function withCluster<T>(kafka: Kafka, work: (cluster: Cluster) => Promise<T>): Promise<T> {
  const { consumer, cluster } = consumerWithCluster(kafka, {
    groupId: `deltaferry-no-group-${randomUUID()}`,
  });
  try {
    await cluster.connect();
    return await work(cluster);
  } finally {
    await disconnected(consumer.disconnect());
  }
}

/** Number of partitions; throws kafkajs's UNKNOWN_TOPIC_OR_PARTITION where the topic is missing. */
export async function partitionCount(cluster: Cluster, topic: string): Promise<number> {
  await cluster.addTargetTopic(topic);
  await cluster.refreshMetadataIfNecessary();
  return cluster.findTopicPartitionMetadata(topic).length;
}

/** Waits for the end of some tidying up, but not for ever (kafkajs waits for brokers that hang); never throws. */
export async function atMost(ms: number, tidying: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([tidying.catch(() => undefined), late]);
  clearTimeout(timer);
}

/** The same of a disconnect, as long as all of ours wait. */
export function disconnected(disconnecting: Promise<unknown>): Promise<void> {
  return atMost(DISCONNECT_MS, disconnecting);
}
