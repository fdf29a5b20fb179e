import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import { createChangeEncoder } from '../src/change/avro.ts';
import type { Change } from '../src/change/change.ts';
import { createChangeLog } from '../src/connections/kafka/change-log.ts';
import { openKafka } from '../src/connections/kafka/client.ts';
import { createSchemaRegistry } from '../src/connections/registry/schemas.ts';
import { mappingOf } from '../src/service/config/table-schema.ts';
import { kafkaOptions, registryOptions } from '../src/service/connect.ts';
import { deadLetterTopic, subjectOf } from '../src/setup/request.ts';
import { historyTable, type Site } from './site.ts';

const CHUNK = 40_000;

/**
 * Publishes updates of random keys below `keys`, each a microsecond after the one before; the share
 * `late` is dated before the newest change of a key that was changed already.
 */
export async function publishRandomUpdates(
  site: Site,
  load: {
    readonly changes: number;
    readonly keys: number;
    readonly late: number;
    readonly baseMicros: number;
  },
): Promise<{ ms: number }> {
  const table = site.config.tables[0]!;
  const mapping = mappingOf(table);
  const kafka = openKafka(kafkaOptions(site.config));
  const schemaId = (await createSchemaRegistry(registryOptions(site.config)).latest(subjectOf(table.topic)))!
    .id;
  const encoder = createChangeEncoder(mapping, schemaId);
  const log = createChangeLog({
    kafka,
    producerName: 'bench',
    table: table.name,
    topic: table.topic,
    partitions: table.partitions,
    deadLetterTopic: deadLetterTopic(table.topic),
    encode: (change) => encoder.encode(change, change.ts),
  });
  await log.open();
  const updates = randomUpdates(table.name, load);
  const began = performance.now();
  for (let at = 0; at < load.changes; at += CHUNK) {
    const changes = Array.from(
      { length: Math.min(CHUNK, load.changes - at) },
      () => updates.next().value as Change,
    );
    await log.publish({ changes, rejected: [], position: { at } });
  }
  const ms = performance.now() - began;
  await log.close();
  return { ms };
}

function* randomUpdates(
  table: string,
  { keys, late, baseMicros }: { readonly keys: number; readonly late: number; readonly baseMicros: number },
): Generator<Change> {
  const newest = new Float64Array(keys);
  const touched: number[] = [];
  for (let n = 1; ; n += 1) {
    const again = touched.length > 0 && Math.random() < late;
    const id = again
      ? touched[Math.floor(Math.random() * touched.length)]!
      : Math.floor(Math.random() * keys);
    const ts = again ? newest[id]! - 1 - Math.floor(Math.random() * 1_000_000) : baseMicros + n * 10;
    if (newest[id] === 0) touched.push(id);
    newest[id] = Math.max(newest[id]!, ts);
    yield {
      op: 'update',
      key: String(id),
      before: null,
      after: [id, `Employee ${id}`, `${50_000 + (n % 1000)}.00`],
      origin: 'delta',
      table,
      position: n,
      ts,
      tx: null,
      load: null,
    };
  }
}

/** The history as it stands before anything arrives: one current version of each key. */
export async function fillHistory(site: Site, keys: number): Promise<void> {
  await site.postgres.query(
    `INSERT INTO ${historyTable(site)} (emp_id, name, salary, is_active, on_date, off_date)
     SELECT id, 'Employee ' || id, 50000, true, '2020-01-01Z', NULL FROM generate_series(0, ${keys - 1}) id`,
  );
  await site.postgres.query(`VACUUM ANALYZE ${historyTable(site)}`);
}

/** The raw limit: the same number of rows by one COPY into a table with the same indexes; milliseconds. */
export async function copyIntoTwin(
  site: Site,
  rows: number,
  format: keyof typeof LINES = 'text',
): Promise<number> {
  await site.postgres.query(`CREATE TABLE twin (LIKE ${historyTable(site)} INCLUDING ALL)`);
  const sink = site.postgres.query(copyFrom(`COPY twin FROM STDIN (FORMAT ${format})`));
  const began = performance.now();
  await pipeline(Readable.from(copyChunks(rows, LINES[format])), sink);
  const ms = performance.now() - began;
  await site.postgres.query('DROP TABLE twin');
  return ms;
}

const LINES = {
  text: (id: number) => `${id}\tEmployee ${id}\t${50_000 + (id % 1000)}.00\tt\t2024-01-01 00:00:00+00\t\\N\n`,
  csv: (id: number) => `${id},Employee ${id},${50_000 + (id % 1000)}.00,t,2024-01-01 00:00:00+00,\n`,
};

function* copyChunks(rows: number, line: (id: number) => string): Generator<Buffer> {
  let chunk = '';
  for (let id = 0; id < rows; id += 1) {
    chunk += line(id);
    if (chunk.length > 262_144) {
      yield Buffer.from(chunk);
      chunk = '';
    }
  }
  if (chunk !== '') yield Buffer.from(chunk);
}
