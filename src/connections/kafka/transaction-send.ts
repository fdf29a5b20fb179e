import { createRequire } from 'node:module';
import type { Cluster, Message, TopicMessages } from 'kafkajs';

/** What is needed of kafkajs's bookkeeping of a transaction (kafkajs 2.2.4, producer/eosManager). */
export interface TransactionState {
  getProducerId(): number;
  getProducerEpoch(): number;
  getTransactionalId(): string;
  /** Number of the partition's next record. */
  getSequence(topic: string, partition: number): number;
  updateSequence(topic: string, partition: number, by: number): void;
  /** Tells the coordinator of those partitions that it has not been told of. */
  addPartitionsToTransaction(topics: readonly TopicPart[]): Promise<void>;
}

/** What is needed of kafkajs's connections. */
export type Brokers = Pick<
  Cluster,
  | 'addMultipleTargetTopics'
  | 'connect'
  | 'findTopicPartitionMetadata'
  | 'isConnected'
  | 'refreshMetadata'
  | 'refreshMetadataIfNecessary'
  | 'removeBroker'
> & {
  findBroker(node: { readonly nodeId: number }): Promise<{ produce(request: object): Promise<unknown> }>;
};

export interface TopicPart {
  readonly topic: string;
  readonly partitions: readonly PartitionPart[];
}

interface PartitionPart {
  readonly partition: number;
  readonly messages: readonly Message[];
  readonly firstSequence?: number;
}

/** The messages of one partition in one request. */
interface Part {
  readonly topic: string;
  readonly partition: number;
  readonly messages: Message[];
}

export interface TransactionSendOptions {
  readonly brokers: Brokers;
  readonly state: TransactionState;
  readonly retry: {
    readonly initialRetryTime: number;
    readonly maxRetryTime: number;
    readonly retries: number;
  };
}

export interface TransactionBatch {
  /** Each message names its partition. */
  readonly topicMessages: readonly TopicMessages[];
  readonly compression?: number | undefined;
}

type Retry = (
  options: object,
) => <T>(
  attempt: (bail: (error: unknown) => void, count: number, waitMs: number) => Promise<T>,
) => Promise<T>;

const load = createRequire(import.meta.url);
const retrying = load('kafkajs/src/retry/index.js') as Retry;

const ACKS_OF_ALL = -1;
const ANSWER_MS = 30_000;

/**
 * Sends messages in a transaction, every partition's exactly once, whichever brokers lead them. kafkajs counts what is
 * acknowledged by broker, and repeats a send while other brokers have theirs in hand: a partition whose new
 * leader had already acknowledged others is then left out in silence, and what is on its way to another
 * is sent again under new numbers. Here each partition is acknowledged by itself, and nothing is
 * repeated before every broker has answered. Calls must follow one another.
 */
export function createTransactionSend({
  brokers,
  state,
  retry,
}: TransactionSendOptions): (batch: TransactionBatch) => Promise<void> {
  async function produce(leader: number, parts: readonly Part[], compression?: number): Promise<void> {
    const broker = await brokers.findBroker({ nodeId: leader });
    const numbered = parts.map((part) => ({
      ...part,
      firstSequence: state.getSequence(part.topic, part.partition),
    }));
    for (const { topic, partition, messages } of parts)
      state.updateSequence(topic, partition, messages.length);
    try {
      await broker.produce({
        transactionalId: state.getTransactionalId(),
        producerId: state.getProducerId(),
        producerEpoch: state.getProducerEpoch(),
        acks: ACKS_OF_ALL,
        timeout: ANSWER_MS,
        compression,
        topicData: byTopic(numbered),
      });
    } catch (error) {
      // Under the same numbers again: a broker that has them already says so, and appends nothing.
      for (const { topic, partition, messages } of parts)
        state.updateSequence(topic, partition, -messages.length);
      throw error;
    }
  }

  /** Those that are not acknowledged yet, and why. */
  async function attempt(
    parts: readonly Part[],
    compression?: number,
  ): Promise<{ readonly left: readonly Part[]; readonly error: unknown }> {
    await brokers.refreshMetadataIfNecessary();
    const leaders = byLeader(brokers, parts);
    await state.addPartitionsToTransaction(byTopic(parts));
    const sends = [...leaders].map(async ([leader, theirs]) => {
      try {
        await produce(leader, theirs, compression);
        return { left: [], error: null };
      } catch (error) {
        return { left: theirs, error };
      }
    });
    const ended = await Promise.all(sends);
    return {
      left: ended.flatMap(({ left }) => left),
      error: ended.find(({ error }) => error !== null)?.error ?? null,
    };
  }

  return async ({ topicMessages, compression }) => {
    let parts: readonly Part[] = partsOf(topicMessages);
    const topics = topicMessages.map(({ topic }) => topic);
    await retrying(retry)(async (bail) => {
      try {
        await brokers.addMultipleTargetTopics(topics);
        const { left, error } = await attempt(parts, compression);
        parts = left;
        if (error !== null) throw error;
      } catch (error) {
        if (!(await mayWorkAgain(brokers, error))) bail(error);
        throw error;
      }
    });
  };
}

function partsOf(topicMessages: readonly TopicMessages[]): Part[] {
  return topicMessages.flatMap(({ topic, messages }) => {
    const parts = new Map<number, Part>();
    for (const message of messages) {
      const partition = message.partition ?? 0;
      const part = parts.get(partition);
      if (part === undefined) parts.set(partition, { topic, partition, messages: [message] });
      else part.messages.push(message);
    }
    return [...parts.values()];
  });
}

function byLeader(brokers: Brokers, parts: readonly Part[]): Map<number, Part[]> {
  const leaders = new Map<number, Part[]>();
  for (const part of parts) {
    const { topic, partition } = part;
    const known = brokers
      .findTopicPartitionMetadata(topic)
      .find(({ partitionId }) => partitionId === partition);
    if (known === undefined)
      throw Object.assign(new Error(`no broker says who leads partition ${partition} of ${topic}`), {
        name: 'KafkaJSMetadataNotLoaded',
      });
    const theirs = leaders.get(known.leader);
    if (theirs === undefined) leaders.set(known.leader, [part]);
    else theirs.push(part);
  }
  return leaders;
}

function byTopic<P extends Part>(parts: readonly P[]): { topic: string; partitions: Omit<P, 'topic'>[] }[] {
  const topics = new Map<string, Omit<P, 'topic'>[]>();
  for (const { topic, ...part } of parts) {
    const theirs = topics.get(topic);
    if (theirs === undefined) topics.set(topic, [part]);
    else theirs.push(part);
  }
  return Array.from(topics, ([topic, partitions]) => ({ topic, partitions }));
}

/** What kafkajs knows of an error of its own. */
interface KafkaError {
  readonly name?: string;
  readonly type?: string;
  readonly retriable?: boolean;
  readonly host?: string;
  readonly port?: number;
}

const STALE_NAMES: ReadonlySet<unknown> = new Set([
  'KafkaJSMetadataNotLoaded',
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
]);
const STALE_TYPES: ReadonlySet<unknown> = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_FOR_PARTITION',
]);

/** As kafkajs judges its own sends; whoever leads what is asked anew first. */
async function mayWorkAgain(brokers: Brokers, error: unknown): Promise<boolean> {
  const { name, type, retriable, host, port } = error as KafkaError;
  if (name === 'KafkaJSConnectionClosedError' && host !== undefined && port !== undefined)
    brokers.removeBroker({ host, port });
  if (!brokers.isConnected()) {
    await brokers.connect();
    await brokers.refreshMetadata();
    return true;
  }
  if (
    STALE_NAMES.has(name) ||
    STALE_TYPES.has(type) ||
    (name === 'KafkaJSProtocolError' && retriable === true)
  ) {
    await brokers.refreshMetadata();
    return true;
  }
  return retriable === true;
}
