import type { Kafka } from 'kafkajs';
import type { Position } from '../../ports/change-log.ts';
import { partitionCount, withCluster } from './cluster.ts';
import { protocolErrorOf, translateKafka } from './errors.ts';
import { scanPartition } from './partition-reader.ts';
import { parsePosition, POSITIONS_PARTITION } from './position-record.ts';

const READ_MS = 60_000;

/**
 * The newest committed position of a producer (`postgres-log/employees`), for one who only looks: nobody
 * is fenced, and whoever runs may be further by now. Null: it has none, or there is no such topic.
 */
export async function latestPosition(
  kafka: Kafka,
  { topic, owner }: { readonly topic: string; readonly owner: string },
): Promise<Position | null> {
  let latest: Uint8Array | null = null;
  try {
    await withCluster(kafka, async (cluster) => {
      await partitionCount(cluster, topic);
      await scanPartition(cluster, {
        topic,
        partition: POSITIONS_PARTITION,
        deadlineMs: READ_MS,
        toEnd: true,
        found(record) {
          if (record.key?.toString() === owner) latest = record.value;
          return false;
        },
      });
    });
  } catch (error) {
    if (protocolErrorOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return null;
    throw translateKafka(error, { doing: 'reading the positions', topic });
  }
  return latest === null ? null : parsePosition(latest, owner, topic);
}
