import { createLoadRecords } from '../../src/connections/kafka/load-records.ts';
import type { Site } from './site.ts';
import { settledEnds, topicEnds } from './topic-ends.ts';

/** The keys of all committed records of a topic in the order in which they were written, each as often as it is there. */
export async function committedKeys(site: Site, topic: string): Promise<string[]> {
  await settledEnds(site.kafka, topic);
  const ends = await topicEnds(site.kafka, topic);
  const found: { readonly key: string; readonly at: number }[] = [];
  await createLoadRecords({ kafka: site.kafka, topic }).read(
    {
      from: new Map(ends.map((_, partition) => [partition, 0n])),
      end: (partition) => BigInt(ends[partition]!),
      handle: (part) => {
        for (const { key, timestamp } of part.records)
          found.push({ key: Buffer.from(key!).toString(), at: timestamp });
        return Promise.resolve();
      },
    },
    AbortSignal.timeout(60_000),
  );
  return found.sort((one, other) => one.at - other.at).map(({ key }) => key);
}
