import type { Kafka, Message, Producer, TopicMessages } from 'kafkajs';
import { asBuffer } from '../../change/bytes.ts';
import type { DeadLetter, DeadLetters } from '../../ports/dead-letters.ts';
import { disconnected } from './cluster.ts';
import { compressionType } from './codecs.ts';
import { translateKafka } from './errors.ts';
import { requestsOf } from './request-size.ts';
import { explainTooLarge, messageBytes } from './too-large.ts';

export interface DeadLettersOptions {
  readonly kafka: Kafka;
  /** `<topic>.dead-letters`. */
  readonly topic: string;
}

export interface KafkaDeadLetters extends DeadLetters {
  close(): Promise<void>;
}

// The strongest: a record that was compressed on the changes topic must not be too large for this one.
const compression = compressionType('zstd');

/**
 * Writes records that can never be applied to the dead-letter topic, key and value as they were, the
 * cause in headers. A repeated send may leave a record twice: topic, partition and offset identify it.
 */
export function createDeadLetters({ kafka, topic }: DeadLettersOptions): KafkaDeadLetters {
  let connected: Promise<Producer> | undefined;

  function producer(): Promise<Producer> {
    connected ??= connect().catch((error: unknown) => {
      connected = undefined;
      throw error;
    });
    return connected;
  }

  async function connect(): Promise<Producer> {
    const opened = kafka.producer({
      allowAutoTopicCreation: false,
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition ?? 0,
    });
    await opened.connect();
    return opened;
  }

  return {
    async send(letters) {
      let sending: TopicMessages = { topic, messages: [] };
      try {
        for (const messages of requestsOf(letters.map(message), messageBytes)) {
          sending = { topic, messages };
          await (await producer()).send({ ...sending, acks: -1, compression });
        }
      } catch (error) {
        const failure = translateKafka(error, { doing: 'writing dead letters', topic });
        throw await explainTooLarge(failure, { kafka, sent: [sending] });
      }
    },

    async close() {
      const closing = connected;
      connected = undefined;
      if (closing === undefined) return;
      await disconnected(closing.then((opened) => opened.disconnect()));
    },
  };
}

function message(letter: DeadLetter): Message {
  return {
    key: letter.key === null ? null : asBuffer(letter.key),
    value: letter.value === null ? null : asBuffer(letter.value),
    partition: 0,
    headers: {
      'error.code': letter.errorCode,
      'error.message': letter.errorMessage,
      topic: letter.topic,
      partition: String(letter.partition),
      offset: letter.offset.toString(),
      'first.seen': String(letter.firstSeen),
    },
  };
}
