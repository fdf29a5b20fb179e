import { randomUUID } from 'node:crypto';
import type { Kafka, Message, TopicMessages } from 'kafkajs';
import type { Change } from '../../change/change.ts';
import { OperatorError, TransientError, type DeltaferryError } from '../../errors.ts';
import type { ChangeLog, Position, PublishBatch } from '../../ports/change-log.ts';
import { partitionCount, withCluster } from './cluster.ts';
import { compressionType, type Compression } from './codecs.ts';
import { translateKafka } from './errors.ts';
import { partitionOf } from './partitioner.ts';
import { scanPartition } from './partition-reader.ts';
import { parsePosition, POSITIONS_PARTITION } from './position-record.ts';
import { rejectedMessage } from './rejected-message.ts';
import { RequestSize, requestsOf } from './request-size.ts';
import { explainTooLarge, messageBytes } from './too-large.ts';
import { createTransactionalProducer, type TransactionalProducer } from './transactional-producer.ts';

export interface ChangeLogOptions {
  readonly kafka: Kafka;
  /** `delta-feed`, `postgres-log`, …: with the table it is the producer's name. */
  readonly producerName: string;
  readonly table: string;
  /** The changes topic, and how many partitions it must have. */
  readonly topic: string;
  readonly partitions: number;
  readonly deadLetterTopic: string;
  /** Also sets its transactional ids apart from another deployment's; default `deltaferry.positions`. */
  readonly positionsTopic?: string;
  /** The record's value; the buffer must stay as it is until `publish` has ended. */
  readonly encode: (change: Change) => Buffer;
  /** Default lz4. */
  readonly compression?: Compression;
  /** After how long the broker aborts what a dead process left open, milliseconds; default 30,000. */
  readonly transactionTimeoutMs?: number;
}

export const DEFAULT_POSITIONS_TOPIC = 'deltaferry.positions';

// Each transaction waits for the markers of the one before it: measured 8 ms against 18 with 10.
const RETRY = { initialRetryTime: 3, maxRetryTime: 1000, retries: 11 };
const POSITION_READ_MS = 60_000;

/**
 * The producing end of a changes topic: every `publish` is one Kafka transaction of the changes, the
 * rejected ones (to the dead-letter topic) and the position they lead to. Sends of one transaction
 * follow one another.
 */
export function createChangeLog(options: ChangeLogOptions): ChangeLog {
  const { kafka, topic } = options;
  const positionsTopic = options.positionsTopic ?? DEFAULT_POSITIONS_TOPIC;
  const owner = `${options.producerName}/${options.table}`;
  const transactionalId = `${positionsTopic}.${options.producerName}.${options.table}`;
  const compression = compressionType(options.compression ?? 'lz4');
  let producer: TransactionalProducer | undefined;

  async function open(): Promise<Position | null> {
    await close();
    const opened = createTransactionalProducer({
      kafka,
      transactionalId,
      transactionTimeoutMs: options.transactionTimeoutMs ?? 30_000,
      retry: RETRY,
    });
    try {
      await opened.open();
      const barrier = randomUUID();
      await writeBarrier(opened, barrier);
      const position = await withCluster(kafka, async (cluster) => {
        checkPartitions(await partitionCount(cluster, topic));
        await partitionCount(cluster, positionsTopic);
        return readPosition(cluster, barrier);
      });
      producer = opened;
      return position;
    } catch (error) {
      await opened.close();
      throw translateKafka(error, {
        doing: 'opening the change log',
        topic: positionsTopic,
        transactionalId,
      });
    }
  }

  /**
   * The first transaction fences older owners and settles what they left open; once its record is
   * read, so is every position committed before it. No arithmetic on offsets, which count control records.
   */
  async function writeBarrier(opened: TransactionalProducer, barrier: string): Promise<void> {
    opened.begin();
    const record = { key: `${owner}#barrier`, value: barrier, partition: POSITIONS_PARTITION };
    await opened.send({ topicMessages: [{ topic: positionsTopic, messages: [record] }] });
    await opened.commit();
  }

  async function readPosition(
    cluster: Parameters<typeof scanPartition>[0],
    barrier: string,
  ): Promise<Position | null> {
    let latest: Uint8Array | null = null;
    await scanPartition(cluster, {
      topic: positionsTopic,
      partition: POSITIONS_PARTITION,
      deadlineMs: POSITION_READ_MS,
      found(record) {
        const key = record.key?.toString();
        if (key === owner) latest = record.value;
        return key === `${owner}#barrier` && record.value?.toString() === barrier;
      },
    });
    return latest === null ? null : parsePosition(latest, owner, positionsTopic);
  }

  function checkPartitions(found: number): void {
    if (found === options.partitions) return;
    throw new OperatorError({
      code: 'TOPIC_PARTITIONS',
      message: `Topic ${topic} has ${found} partitions, the configuration of ${options.table} says ${options.partitions}: keys would change partition and lose their order.`,
      remedy: `Set partitions: ${found} for ${options.table} if the topic has never had another number; else move to a new topic.`,
    });
  }

  async function publish(batch: PublishBatch): Promise<void> {
    const current = producer;
    if (current === undefined)
      throw new TransientError({
        code: 'CHANGE_LOG_CLOSED',
        message: `The change log of ${owner} is not open.`,
      });
    let sending: readonly TopicMessages[] = [];
    try {
      current.begin();
      await send(current, batch, (request) => (sending = request));
      await current.commit();
    } catch (error) {
      producer = undefined;
      const failure = translateKafka(error, { doing: 'publishing changes', topic, transactionalId });
      await abandon(current, failure);
      throw await explainTooLarge(failure, { kafka, sent: sending });
    }
  }

  async function send(
    to: TransactionalProducer,
    batch: PublishBatch,
    onRequest: (request: readonly TopicMessages[]) => void,
  ): Promise<void> {
    const requests = allRequests(batch);
    // The position rides with the first: almost always three round trips are then a whole transaction.
    let rest: TopicMessages[] = [{ topic: positionsTopic, messages: [positionMessage(batch.position)] }];
    let next = requests.next();
    do {
      const topicMessages = next.done === true ? rest : [next.value, ...rest];
      rest = [];
      onRequest(topicMessages);
      const sent = to.send({ compression, topicMessages });
      sent.catch(() => undefined);
      // The next request is encoded while this one is on its way.
      next = requests.next();
      await sent;
    } while (next.done !== true);
  }

  function* allRequests({ changes, rejected }: PublishBatch): Generator<TopicMessages, void, undefined> {
    for (const messages of changeRequests(changes)) yield { topic, messages };
    const letters = rejected.map((each) => rejectedMessage(each, options.producerName));
    for (const messages of requestsOf(letters, messageBytes))
      yield { topic: options.deadLetterTopic, messages };
  }

  /** In the order of the changes; each request takes as many as fit. */
  function* changeRequests(changes: readonly Change[]): Generator<Message[], void, undefined> {
    let messages: Message[] = [];
    const size = new RequestSize(options.partitions);
    for (const change of changes) {
      const key = Buffer.from(change.key);
      const value = options.encode(change);
      const partition = partitionOf(key, options.partitions);
      const bytes = key.length + value.length;
      if (!size.add(partition, bytes)) {
        yield messages;
        messages = [];
        size.clear();
        size.add(partition, bytes);
      }
      messages.push({ key, value, partition });
    }
    if (messages.length > 0) yield messages;
  }

  function positionMessage(position: Position): Message {
    return { key: owner, value: JSON.stringify(position), partition: POSITIONS_PARTITION };
  }

  async function close(): Promise<void> {
    const closing = producer;
    producer = undefined;
    await closing?.close();
  }

  return { open, publish, close };
}

/**
 * An abort is only worth it where nobody opens the log again soon, so that readers need not wait for
 * the transaction's timeout. Otherwise the next `open` aborts, with a new epoch that also keeps out
 * requests which are still on their way.
 */
async function abandon(producer: TransactionalProducer, failure: DeltaferryError): Promise<void> {
  if (producer.isActive() && failure.kind === 'operator') await producer.abort().catch(() => undefined);
  await producer.close();
}
