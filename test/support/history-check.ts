import assert from 'node:assert/strict';
import type { Change } from '../../src/change/change.ts';
import { expectedHistory } from './oracle.ts';
import type { Site } from './site.ts';
import { settledEnds, topicEnds } from './topic-ends.ts';
import { until } from './until.ts';

/** Where the sink stands in each partition, and where the topic ends. */
export interface PartitionOffset {
  readonly partition: number;
  readonly stored: number;
  readonly end: number;
}

export async function partitionOffsets(site: Site): Promise<PartitionOffset[]> {
  const { rows } = await site.pool.query<{ partition: number; next_offset: string }>(
    'SELECT partition, next_offset FROM deltaferry.offsets WHERE topic = $1',
    [site.topic],
  );
  const ends = await topicEnds(site.kafka, site.topic);
  return ends.map((end, partition) => ({
    partition,
    stored: Number(rows.find((row) => row.partition === partition)?.next_offset ?? -1),
    end,
  }));
}

/** Behind the mark that ends the partition's last transaction. */
const isAtEnd = ({ stored, end }: PartitionOffset): boolean => stored === end;

/** Waits until the sink has applied everything that was published before the call. */
export async function caughtUp(site: Site, timeoutMs: number): Promise<void> {
  await settledEnds(site.kafka, site.topic);
  await until('the sink has applied everything', async () => (await partitionOffsets(site)).every(isAtEnd), {
    timeoutMs,
    everyMs: 100,
  });
}

/** Every version and every remembered delete is what it must be, each offset is the end, and no record was set aside. */
export async function assertHistory(site: Site, changes: readonly Change[], hint: string): Promise<void> {
  const expected = expectedHistory(changes);
  assert.deepEqual(
    (await partitionOffsets(site)).filter((offset) => !isAtEnd(offset)),
    [],
    hint,
  );
  assert.deepEqual(await settledEnds(site.kafka, `${site.topic}.dead-letters`), [0], `dead letters, ${hint}`);
  assertSame(
    await storedVersions(site),
    expected.versions.map(({ key, name, salary, from, to }) =>
      line(key, name, salary, to === null, from, to),
    ),
    `versions, ${hint}`,
  );
  const { rows } = await site.pool.query<{ key: string; ts: string }>(
    `SELECT key, (extract(epoch FROM ts) * 1000000)::bigint AS ts FROM deltaferry.orphan_deletes`,
  );
  assertSame(
    rows.map(({ key, ts }) => `${key} @${ts}`),
    expected.orphanDeletes.map(({ key, ts }) => `${key} @${ts}`),
    `remembered deletes, ${hint}`,
  );
}

async function storedVersions(site: Site): Promise<string[]> {
  const { rows } = await site.pool.query<
    Record<'emp_id' | 'name' | 'salary' | 'from' | 'to', string> & { is_active: boolean }
  >(
    `SELECT emp_id, name, salary, is_active,
            (extract(epoch FROM on_date) * 1000000)::bigint AS "from",
            (extract(epoch FROM off_date) * 1000000)::bigint AS "to"
     FROM public.employees`,
  );
  return rows.map(({ emp_id, name, salary, is_active, from, to }) =>
    line(emp_id, name, salary, is_active, Number(from), to === null ? null : Number(to)),
  );
}

function line(
  key: string,
  name: string,
  salary: string,
  active: boolean,
  from: number,
  to: number | null,
): string {
  return `${key} [${from}, ${to ?? '…'}) ${name} ${salary} ${active ? 'current' : 'ended'}`;
}

/** As multisets; the message shows the first few of what is missing and of what is too much. */
function assertSame(found: readonly string[], expected: readonly string[], about: string): void {
  const left = new Map<string, number>();
  for (const text of expected) left.set(text, (left.get(text) ?? 0) + 1);
  for (const text of found) left.set(text, (left.get(text) ?? 0) - 1);
  const off = [...left].filter(([, count]) => count !== 0).sort();
  const shown = off.slice(0, 12).map(([text, count]) => `${count > 0 ? 'missing' : 'too much'}: ${text}`);
  assert.equal(off.length, 0, `${about}: ${off.length} differ of ${expected.length}\n${shown.join('\n')}`);
}
