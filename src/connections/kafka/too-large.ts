import type { Kafka, Message, TopicMessages } from 'kafkajs';
import { OperatorError, type DeltaferryError } from '../../errors.ts';
import { topicsAdmin } from './admin.ts';
import { alterTopicCommand } from './alter-topic.ts';
import { TOO_LARGE } from './errors.ts';

/** Bytes of key, value and headers before compression. */
export function messageBytes({ key, value, headers = {} }: Message): number {
  let bytes = textBytes(key) + textBytes(value);
  for (const [name, text] of Object.entries(headers)) bytes += name.length + textBytes(String(text));
  return bytes;
}

/**
 * Where the failure is that a record is larger than its topic takes: the same, with the record's key, its
 * size, the topic's limit and the command that raises it. Any other failure as it is. Never throws.
 */
export async function explainTooLarge(
  failure: DeltaferryError,
  { kafka, sent }: { readonly kafka: Kafka; readonly sent: readonly TopicMessages[] },
): Promise<DeltaferryError> {
  const largest = largestOf(sent);
  if (failure.code !== TOO_LARGE || largest === null) return failure;
  const { topic, key, bytes } = largest;
  const limit = await limitOf(kafka, topic);
  const enough = Math.ceil((bytes * 2) / 1_000_000) * 1_000_000;
  return new OperatorError({
    code: TOO_LARGE,
    message:
      `Topic ${topic} refused a record: that of key ${shortened(key)} has ${bytes} bytes before compression` +
      (limit === null ? '.' : `, and the topic takes ${limit} (max.message.bytes).`),
    remedy:
      `Run ${alterTopicCommand(topic, 'max.message.bytes', enough)}. ` +
      'Nothing is lost: it goes on by itself.',
    cause: failure,
  });
}

interface Largest {
  readonly topic: string;
  readonly key: string;
  readonly bytes: number;
}

function largestOf(sent: readonly TopicMessages[]): Largest | null {
  let largest: Largest | null = null;
  for (const { topic, messages } of sent)
    for (const message of messages) {
      const bytes = messageBytes(message);
      if (bytes > (largest?.bytes ?? -1))
        largest = { topic, bytes, key: message.key == null ? '(none)' : String(message.key) };
    }
  return largest;
}

/** Null where the broker does not say: reading a topic's settings takes a right of its own. */
async function limitOf(kafka: Kafka, topic: string): Promise<string | null> {
  const topics = topicsAdmin(kafka);
  try {
    return (await topics.describe([topic])).get(topic)?.config['max.message.bytes'] ?? null;
  } catch {
    return null;
  } finally {
    await topics.close();
  }
}

function shortened(key: string): string {
  return key.length > 100 ? `${key.slice(0, 100)}…` : key;
}

function textBytes(text: Buffer | string | null | undefined): number {
  if (text === null || text === undefined) return 0;
  return typeof text === 'string' ? Buffer.byteLength(text) : text.length;
}
