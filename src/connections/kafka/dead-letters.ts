import type { Kafka, Message, Producer } from 'kafkajs';
import type { DeadLetter, DeadLetters } from '../../ports/dead-letters.ts';
import { atMost } from './cluster.ts';
import { translateKafka } from './errors.ts';

export interface DeadLettersOptions {
  readonly kafka: Kafka;
  /** `<topic>.dead-letters`. */
  readonly topic: string;
}

export interface KafkaDeadLetters extends DeadLetters {
  close(): Promise<void>;
}

const PER_REQUEST = 100;
const DISCONNECT_MS = 3000;

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
      try {
        for (let at = 0; at < letters.length; at += PER_REQUEST)
          await (
            await producer()
          ).send({ topic, acks: -1, messages: letters.slice(at, at + PER_REQUEST).map(message) });
      } catch (error) {
        throw translateKafka(error, { doing: 'writing dead letters', topic });
      }
    },

    async close() {
      const closing = connected;
      connected = undefined;
      if (closing === undefined) return;
      await atMost(
        DISCONNECT_MS,
        closing.then((opened) => opened.disconnect()),
      );
    },
  };
}

function message(letter: DeadLetter): Message {
  return {
    key: bytes(letter.key),
    value: bytes(letter.value),
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

function bytes(from: Uint8Array | null): Buffer | null {
  return from === null ? null : Buffer.from(from.buffer, from.byteOffset, from.byteLength);
}
