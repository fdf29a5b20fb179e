import type { IHeaders, Message } from 'kafkajs';
import { createChangeEncoder } from '../../src/change/avro.ts';
import type { Change, Micros, Row } from '../../src/change/change.ts';
import { keyOf } from '../../src/change/key.ts';
import { partitionOf } from '../../src/connections/kafka/partitioner.ts';
import { mappingOf } from '../../src/service/config/table-schema.ts';
import type { Site } from './site.ts';
import { until } from './until.ts';

/** An employee's change as the Delta feed would make it; the row after it is `[id, name, salary]`. */
export function employeeChange(
  id: number,
  given: Partial<Change> & { readonly name?: string; readonly salary?: string } = {},
): Change {
  const { name = `Employee ${id}`, salary = '50000.00', ...rest } = given;
  const row: Row = [id, name, salary];
  return {
    op: 'insert',
    key: String(id),
    before: rest.op === 'delete' ? row : null,
    after: rest.op === 'delete' ? null : row,
    origin: 'delta',
    table: 'employees',
    position: 1,
    ts: Date.now() * 1000 - 60_000_000,
    tx: null,
    load: null,
    ...rest,
  };
}

/** The record of a change on the site's topic, in the partition of its key. */
export function recordOf(site: Site, change: Change): Message & { key: Buffer; value: Buffer } {
  const mapping = mappingOf(site.table);
  const value = Buffer.from(createChangeEncoder(mapping, site.schemaId).encode(change, Date.now() * 1000));
  const row = change.after ?? change.before;
  const key = Buffer.from(row === null ? change.key : keyOf(mapping)(row));
  return { key, value, partition: partitionOf(key, site.table.partitions) };
}

/** Writes records as they are, in one request: whatever the service's own producers would never do. */
export async function produce(site: Site, messages: readonly Message[]): Promise<void> {
  const producer = site.kafka.producer({ createPartitioner: () => ({ message }) => message.partition ?? 0 });
  await producer.connect();
  try {
    await producer.send({ topic: site.table.topic, messages: [...messages] });
  } finally {
    await producer.disconnect();
  }
}

export interface FoundLetter {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** Everything on the site's dead-letter topic, read by kafkajs's own consumer. */
export async function deadLettersOf(site: Site): Promise<FoundLetter[]> {
  const admin = site.kafka.admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(site.deadLetterTopic);
  await admin.disconnect();
  const left = new Map(ends.filter(({ low, high }) => low !== high).map((end) => [end.partition, end.high]));
  if (left.size === 0) return [];
  const found: FoundLetter[] = [];
  const consumer = site.kafka.consumer({ groupId: `${site.name}-reader-${Date.now()}`, maxWaitTimeInMs: 50 });
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [site.deadLetterTopic], fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatch: ({ batch: { messages, partition, lastOffset } }) => {
        for (const { key, value, headers } of messages) found.push({ key, value, headers: texts(headers) });
        if (BigInt(lastOffset()) + 1n >= BigInt(left.get(partition) ?? 0)) left.delete(partition);
        return Promise.resolve();
      },
    });
    await until('the end of the dead letters', () => left.size === 0);
  } finally {
    await consumer.disconnect();
  }
  return found;
}

function texts(headers: IHeaders | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers ?? {}).map(([name, value]) => [name, value === undefined ? '' : value.toString()]),
  );
}

/** Offsets of the site's changes topic: what lies there and how much of it the sink has passed. */
export async function backlogOf(site: Site): Promise<bigint> {
  const admin = site.kafka.admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(site.table.topic);
  await admin.disconnect();
  const { rows } = await site.postgres.query<{ partition: number; next: string }>(
    'SELECT partition, next_offset AS next FROM deltaferry.offsets WHERE topic = $1',
    [site.table.topic],
  );
  const next = new Map(rows.map((row) => [row.partition, BigInt(row.next)]));
  return ends.reduce(
    (sum, { partition, low, high }) => sum + BigInt(high) - (next.get(partition) ?? BigInt(low)),
    0n,
  );
}

export interface FoundVersion {
  readonly id: number;
  readonly name: string;
  readonly salary: string;
  readonly active: boolean;
  readonly from: Micros;
  readonly to: Micros | null;
}

/** The site's history table, ordered by employee, then time. */
export async function historyOf(site: Site): Promise<FoundVersion[]> {
  const { rows } = await site.postgres.query<Record<'id' | 'name' | 'salary' | 'from' | 'to', string> & { active: boolean }>(
    `SELECT emp_id AS id, name, salary, is_active AS active,
            (extract(epoch FROM on_date) * 1000000)::bigint AS "from",
            (extract(epoch FROM off_date) * 1000000)::bigint AS "to"
     FROM public.employees ORDER BY emp_id, on_date`,
  );
  return rows.map(({ id, name, salary, active, from, to }) => ({
    id: Number(id),
    name,
    salary,
    active,
    from: Number(from),
    to: to === null ? null : Number(to),
  }));
}
