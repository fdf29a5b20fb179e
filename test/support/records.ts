import type { IHeaders, Message } from 'kafkajs';
import { createChangeEncoder } from '../../src/change/avro.ts';
import type { Change, Micros, Row } from '../../src/change/change.ts';
import { partitionOf } from '../../src/connections/kafka/partitioner.ts';
import { createSchemaRegistry } from '../../src/connections/registry/schemas.ts';
import { deadLetterTopic, subjectOf } from '../../src/setup/request.ts';
import type { Site } from './site.ts';
import { settledEnds } from './topic-ends.ts';
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

/** What a test writes to and reads from a site's topics and tables past the service. */
export interface Records {
  /** The record of a change, in the partition of its key. */
  of(change: Change): Message & { readonly key: Buffer; readonly value: Buffer };
  /** Writes records as they are, in one request: whatever the service's own producers would never do. Answers the first offset. */
  produce(messages: readonly Message[]): Promise<{ readonly offset: bigint }>;
  /** Everything on the dead-letter topic, read by kafkajs's own consumer. */
  deadLetters(): Promise<FoundLetter[]>;
  /** Records of the changes topic that the sink's stored offsets have not passed. */
  backlog(): Promise<bigint>;
  /** The history table, ordered by employee, then time. */
  history(): Promise<FoundVersion[]>;
  close(): Promise<void>;
}

export async function openRecords(site: Site): Promise<Records> {
  const { kafka, topic, mapping, config, pool } = site;
  const { partitions } = config.tables[0]!;
  const registry = createSchemaRegistry(config.registry);
  const schemaId = await registry.latestId(subjectOf(topic));
  registry.close();
  if (schemaId === null) throw new Error(`no schema of ${topic} is registered`);
  const encoder = createChangeEncoder(mapping, schemaId);
  const producer = kafka.producer({
    createPartitioner:
      () =>
      ({ message }) =>
        message.partition ?? 0,
  });
  const admin = kafka.admin();
  await Promise.all([producer.connect(), admin.connect()]);
  return {
    of(change) {
      const key = Buffer.from(change.key);
      // A copy: tests spoil it.
      const value = Buffer.from(encoder.encode(change, Date.now() * 1000));
      return { key, value, partition: partitionOf(key, partitions) };
    },
    async produce(messages) {
      const [first] = await producer.send({ topic, messages: [...messages] });
      return { offset: BigInt(first?.baseOffset ?? -1) };
    },
    async deadLetters() {
      await settledEnds(kafka, deadLetterTopic(topic));
      const ends = await admin.fetchTopicOffsets(deadLetterTopic(topic));
      return readLetters(site, ends);
    },
    async backlog() {
      await settledEnds(kafka, topic);
      const ends = await admin.fetchTopicOffsets(topic);
      const { rows } = await pool.query<{ partition: number; next: string }>(
        'SELECT partition, next_offset AS next FROM deltaferry.offsets WHERE topic = $1',
        [topic],
      );
      const next = new Map(rows.map((row) => [row.partition, BigInt(row.next)]));
      return ends.reduce(
        (sum, { partition, low, high }) => sum + BigInt(high) - (next.get(partition) ?? BigInt(low)),
        0n,
      );
    },
    history: () => historyOf(pool),
    close: async () => void (await Promise.all([producer.disconnect(), admin.disconnect()])),
  };
}

export interface FoundLetter {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, string>>;
}

async function readLetters(
  site: Site,
  ends: readonly { readonly partition: number; readonly low: string; readonly high: string }[],
): Promise<FoundLetter[]> {
  const left = new Map(ends.filter(({ low, high }) => low !== high).map((end) => [end.partition, end.high]));
  if (left.size === 0) return [];
  const found: FoundLetter[] = [];
  const consumer = site.kafka.consumer({ groupId: `${site.name}-reader-${Date.now()}`, maxWaitTimeInMs: 50 });
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [deadLetterTopic(site.topic)], fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatch: ({ batch }) => {
        const { messages, partition } = batch;
        for (const { key, value, headers } of messages) found.push({ key, value, headers: texts(headers) });
        if (BigInt(batch.lastOffset()) + 1n >= BigInt(left.get(partition) ?? 0)) left.delete(partition);
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

export interface FoundVersion {
  readonly id: number;
  readonly name: string;
  readonly salary: string;
  readonly active: boolean;
  readonly from: Micros;
  readonly to: Micros | null;
}

async function historyOf(pool: Site['pool']): Promise<FoundVersion[]> {
  const { rows } = await pool.query<
    Record<'id' | 'name' | 'salary' | 'from' | 'to', string> & { active: boolean }
  >(
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
