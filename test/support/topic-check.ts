import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { Kafka } from 'kafkajs';
import { createChangeDecoder, changeSchema } from '../../src/change/avro.ts';
import type { Change, Row } from '../../src/change/change.ts';
import { createRecordStream } from '../../src/connections/kafka/record-stream.ts';
import type { StreamRecord } from '../../src/ports/record-stream.ts';
import type { DeltaCommits, Employee } from './delta-commits.ts';
import type { Site } from './site.ts';
import { settledEnds } from './topic-ends.ts';
import { until } from './until.ts';

/**
 * Every committed record of a topic by partition, in order, up to its end as it is now. Fails where a
 * transaction is still open after `settleMs`.
 */
export async function committedRecords(
  kafka: Kafka,
  topic: string,
  settleMs?: number,
): Promise<ReadonlyMap<number, readonly StreamRecord[]>> {
  await settledEnds(kafka, topic, settleMs);
  const found = new Map<number, StreamRecord[]>();
  const left = new Map<number, bigint>();
  const stop = new AbortController();
  let asked = false;
  const running = createRecordStream({ kafka, groupId: `test-reader-${randomUUID()}`, topic }).run(
    {
      assigned(ranges) {
        for (const [partition, { low, high }] of ranges) {
          found.set(partition, []);
          if (high > low) left.set(partition, high);
        }
        asked = true;
        return Promise.resolve(new Map([...ranges].map(([partition, { low }]) => [partition, low])));
      },
      revoked: () => undefined,
      batch({ partition, records, next }) {
        found.get(partition)?.push(...records);
        if (next >= (left.get(partition) ?? 0n)) left.delete(partition);
        return Promise.resolve({ kind: 'done', next });
      },
    },
    stop.signal,
  );
  try {
    await Promise.race([
      running,
      until(`the end of ${topic}`, () => asked && left.size === 0, { timeoutMs: 60_000 }),
    ]);
  } finally {
    stop.abort();
    await running;
  }
  return found;
}

/**
 * Each change of the commits is exactly one record on the topic, whole and in order per key, nothing
 * else is there, and the stored position is the newest version. Returns the changes as they were published.
 */
export async function assertPublished(site: Site, commits: DeltaCommits, hint: string): Promise<Change[]> {
  const decoder = createChangeDecoder(site.mapping, changeSchema(site.mapping));
  const published: Change[] = [];
  const counts = new Map<string, number>();
  const places = new Map<string, { partition: number; version: number }>();
  for (const [partition, records] of await committedRecords(site.kafka, site.topic))
    for (const { key, value } of records) {
      const change = decoder.decode(value!, Buffer.from(key!).toString());
      published.push(change);
      const version = Number(change.position);
      const text = line(version, change.key, employee(change.before), employee(change.after));
      counts.set(text, (counts.get(text) ?? 0) + 1);
      const last = places.get(change.key);
      assert.ok(
        last === undefined || (last.partition === partition && last.version < version),
        `key ${change.key}: version ${version} in partition ${partition} follows ${JSON.stringify(last)}, ${hint}`,
      );
      places.set(change.key, { partition, version });
    }
  for (const { version, key, before, after } of commits.changes) {
    const text = line(version, key, before, after);
    counts.set(text, (counts.get(text) ?? 0) - 1);
  }
  const off = [...counts].filter(([, count]) => count !== 0).sort();
  const shown = off.slice(0, 12).map(([text, count]) => `${count > 0 ? 'too much' : 'missing'}: ${text}`);
  assert.equal(
    off.length,
    0,
    `${off.length} of ${commits.changes.length} changes are not one record, ${hint}\n${shown.join('\n')}`,
  );
  assert.deepEqual(await settledEnds(site.kafka, `${site.topic}.dead-letters`), [0], `dead letters, ${hint}`);
  const position = await storedPosition(site);
  assert.deepEqual(
    { version: position?.['version'], groups: position?.['groups'] },
    { version: commits.version, groups: 0 },
    hint,
  );
  return published;
}

/** What the producer would go on from, were it opened now. */
export async function storedPosition(
  site: Site,
  producer: 'delta-feed' | 'postgres-log' = 'delta-feed',
): Promise<Record<string, unknown> | undefined> {
  const records = await committedRecords(site.kafka, site.config.topics.positions);
  const last = [...records.values()]
    .flat()
    .findLast(({ key }) => Buffer.from(key!).toString() === `${producer}/${site.name}`);
  return last === undefined
    ? undefined
    : (JSON.parse(Buffer.from(last.value!).toString()) as Record<string, unknown>);
}

function employee(row: Row | null): Employee | null {
  return row === null ? null : { name: String(row[1]), salary: String(row[2]) };
}

function line(version: number, key: string, before: Employee | null, after: Employee | null): string {
  const text = (row: Employee | null): string => (row === null ? '-' : `${row.name} ${row.salary}`);
  return `version ${version} key ${key}: ${text(before)} → ${text(after)}`;
}
