import type { Kafka } from 'kafkajs';
import { topicsAdmin } from './admin.ts';

/** Longer is for ever: the largest number that Kafka takes is, too. */
const LONGEST_MS = 100 * 365 * 24 * 60 * 60 * 1000;

/** How long the topic keeps its records, milliseconds; null: for ever, or it does not say. */
export async function topicRetention(kafka: Kafka, topic: string): Promise<number | null> {
  const topics = topicsAdmin(kafka);
  try {
    const config = (await topics.describe([topic])).get(topic)?.config ?? {};
    const ms = Number(config['retention.ms'] ?? -1);
    const expires = config['cleanup.policy']?.includes('delete') === true && ms >= 0 && ms < LONGEST_MS;
    return expires ? ms : null;
  } finally {
    await topics.close();
  }
}
