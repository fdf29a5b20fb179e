import type { Kafka } from 'kafkajs';
import { disconnected } from './cluster.ts';
import { translateKafka } from './errors.ts';

/**
 * The next offset of each partition by what groups of these names have committed to Kafka, of each partition the
 * furthest; what none has committed is left out. A group that one may not describe counts as none.
 */
export async function groupOffsets(
  kafka: Kafka,
  { topic, isWanted }: { readonly topic: string; readonly isWanted: (group: string) => boolean },
): Promise<ReadonlyMap<number, bigint>> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    const { groups } = await admin.listGroups();
    const furthest = new Map<number, bigint>();
    for (const { groupId } of groups.filter((group) => isWanted(group.groupId))) {
      const [found] = await admin.fetchOffsets({ groupId, topics: [topic] });
      for (const { partition, offset } of found?.partitions ?? []) {
        const next = BigInt(offset);
        if (next >= 0n && next > (furthest.get(partition) ?? -1n)) furthest.set(partition, next);
      }
    }
    return furthest;
  } catch (error) {
    throw translateKafka(error, { doing: 'asking for the offsets of consumer groups', topic });
  } finally {
    await disconnected(admin.disconnect());
  }
}
