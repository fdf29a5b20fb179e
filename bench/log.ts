/**
 * `npm run bench -- log [section …]`: the log poller alone, from the log in Postgres to the topic, each figure beside
 * the raw limit of this machine in this run. Sections: rate, latency. On the stack of DELTAFERRY_TEST_STACK, else on one
 * of its own.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { Change } from '../src/change/change.ts';
import { beginWindow, READER_SETTINGS, SET_WINDOW, windowSql } from '../src/connections/postgres/log-sql.ts';
import {
  openCaptureDatabase,
  type CaptureDatabase,
  type CapturedTable,
} from '../test/producers/captured-table.ts';
import { createRecordStream } from '../src/connections/kafka/record-stream.ts';
import { startStack, stopStack } from '../src/stack/stack.ts';
import { testStack } from '../test/support/stack.ts';
import { startLogProcess, type LogProcess } from '../test/producers/log-process.ts';
import { openLogTopics, PARTITIONS, type LogTopics, type TableTopics } from '../test/producers/log-topics.ts';
import { until } from '../test/support/until.ts';
import {
  peakMegabytes,
  percentile,
  perSecond,
  printFigures,
  seconds,
  type Figure,
  processorSeconds,
} from './figures.ts';

const ROWS = Number(process.env['BENCH_LOG_ROWS'] ?? 1_000_000);

const LOAD = fileURLToPath(new URL('log-load.ts', import.meta.url));
const RATE = 1_000;
const SECONDS = Number(process.env['BENCH_LOG_SECONDS'] ?? 15);

const ms = (value: number): string => `${value.toFixed(1)} ms`;
const epochMs = (): number => performance.timeOrigin + performance.now();

interface Site {
  readonly database: CaptureDatabase;
  readonly topics: LogTopics;
}

const sections: Record<string, (site: Site) => Promise<Figure[]>> = { rate, latency };

const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
const ownStack = process.env['DELTAFERRY_TEST_STACK'] === undefined ? resolve('.deltaferry/bench-log') : null;
if (ownStack !== null) {
  await startStack({ dir: ownStack, parts: ['kafka', 'postgres'], ownerPid: process.pid });
  process.env['DELTAFERRY_TEST_STACK'] = join(ownStack, 'stack.json');
}
try {
  await measure();
} finally {
  if (ownStack !== null) await stopStack({ dir: ownStack, wipe: true });
}

async function measure(): Promise<void> {
  const site: Site = { database: await openCaptureDatabase(), topics: await openLogTopics('bench-log') };
  try {
    for (const [name, section] of Object.entries(sections))
      if (wanted.length === 0 || wanted.includes(name)) printFigures(name, await section(site));
  } finally {
    await site.topics.drop();
    await site.database.drop();
  }
}

/** One transaction of so many updates, from the start of the poller until the last of them is durable on the topic. */
async function rate({ database, topics }: Site): Promise<Figure[]> {
  const table = await database.table();
  const topic = await topics.of(table.mapping);
  const from = await snapshot(table);
  await table.sql(
    `INSERT INTO ${table.log} (op, key, before, after)
     SELECT 'U', n::text, json_object(ARRAY['emp_id', 'name', 'salary'], ARRAY[n::text, 'Employee ' || n, (50000 + n % 1000)::text || '.00']),
                          json_object(ARRAY['emp_id', 'name', 'salary'], ARRAY[n::text, 'Employee ' || n, (60000 + n % 1000)::text || '.50'])
     FROM generate_series(1, $1::int) n`,
    [ROWS],
  );
  const to = await snapshot(table);
  const poller = pollerOf(topics, table, topic);
  let took: number;
  let memory: number;
  let processor: number;
  try {
    await until('the poller polls', () => poller.state() === 'polling', { everyMs: 1 });
    const begun = performance.now();
    await until('everything is published', () => poller.published() >= ROWS, { everyMs: 5 });
    took = performance.now() - begun;
    memory = peakMegabytes(poller.pid);
    processor = processorSeconds(poller.pid);
  } finally {
    await poller.stop();
  }
  const readMs = await rawRead(table, from, to);
  const { ms: sendMs, changes } = await rawSend(
    await topics.of({ ...table.mapping, name: `${table.name}_raw` }),
  );
  const sent = (ROWS / changes) * sendMs;
  return [
    {
      what: `${ROWS.toLocaleString('en')} rows of one transaction, log to topic`,
      figure: `${seconds(took)}, ${perSecond(ROWS, took)}`,
      limit: `read alone ${seconds(readMs)} (${perSecond(ROWS, readMs)}), kafkajs alone ${seconds(sent)} (${perSecond(changes, sendMs)})`,
      ratio: `${(took / Math.max(readMs, sent)).toFixed(2)}× the slower of both`,
      budget: '≥ 50,000/s, aim 100,000/s',
    },
    {
      what: 'the poller, processor time (its one thread is the limit where nothing else is)',
      figure: `${processor.toFixed(1)} s, ${perSecond(ROWS, processor * 1000)}`,
      limit: '',
      ratio: '',
      budget: '',
    },
    {
      what: 'the poller, peak resident memory',
      figure: `${memory} MB`,
      limit: '',
      ratio: '',
      budget: '≤ 512 MB',
    },
  ];
}

/** The poller as a process of its own, with the flags of the service. */
function pollerOf(topics: LogTopics, table: CapturedTable, topic: TableTopics): LogProcess {
  return startLogProcess({
    url: table.url,
    table: table.table,
    mapping: table.mapping,
    brokers: testStack().kafka.brokers,
    producerName: 'bench-postgres-log',
    topic: topic.topic,
    partitions: PARTITIONS,
    deadLetterTopic: topic.deadLetterTopic,
    positionsTopic: topics.positionsTopic,
    options: { maxBatchChanges: Number(process.env['BENCH_LOG_BATCH'] ?? 10_000) },
  });
}

async function snapshot(table: CapturedTable): Promise<string> {
  const [row] = await table.sql<{ now: string }>('SELECT pg_current_snapshot()::text AS now');
  return row!.now;
}

/** The same window with the same query, its bytes thrown away. */
async function rawRead(table: CapturedTable, from: string, to: string): Promise<number> {
  const client = new pg.Client({ connectionString: table.url, options: READER_SETTINGS });
  await client.connect();
  const begun = performance.now();
  await client.query(beginWindow(table.log));
  await client.query(SET_WINDOW, [from, to, '0']);
  for await (const chunk of client.query(copyTo(windowSql(table.log)))) void chunk;
  await client.query('COMMIT');
  const took = performance.now() - begun;
  await client.end();
  return took;
}

/** Changes that lie in memory, in transactions of the size that the poller makes. */
async function rawSend(topic: TableTopics): Promise<{ ms: number; changes: number }> {
  const batch = Array.from({ length: 20_000 }, (_, n) => rawChange(n));
  const log = topic.log();
  await log.open();
  await log.publish({ changes: batch, rejected: [], position: { n: 0 } });
  const begun = performance.now();
  for (let n = 1; n <= 10; n++) await log.publish({ changes: batch, rejected: [], position: { n } });
  return { ms: performance.now() - begun, changes: batch.length * 10 };
}

/** Single-row transactions at an even pace: from the answer to COMMIT until a consumer has the committed record. */
async function latency({ database, topics }: Site): Promise<Figure[]> {
  const table = await database.table();
  const topic = await topics.of(table.mapping);
  const poller = pollerOf(topics, table, topic);
  const reader = await arrivals(topics, topic.topic);
  try {
    await until('the poller polls', () => poller.state() === 'polling');
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [LOAD, table.url, table.table, String(RATE), String(SECONDS)],
      { maxBuffer: 100 * 1024 * 1024 },
    );
    const lines = stdout.trim().split('\n');
    const took = Number(lines.pop()!.split(' ')[1]);
    await until('all have arrived', () => reader.seen.size >= lines.length);
    // The first second warms up.
    const waits = lines
      .map((line) => line.split(' '))
      .filter(([key]) => Number(key) > RATE)
      .map(([key = '', at]) => reader.seen.get(key)! - Number(at));
    const raw = await rawLatency(topics, table.mapping);
    const transactions = poller.words.filter((word) => 'published' in word).length;
    return [
      {
        what: `${RATE} single-row transactions/s, commit to topic (${SECONDS} s, ${perSecond(lines.length, took)} reached, ${transactions} Kafka transactions)`,
        figure: `p50 ${ms(percentile(waits, 0.5))}, p99 ${ms(percentile(waits, 0.99))}, max ${ms(Math.max(...waits))}`,
        limit: `one Kafka transaction until a consumer has it: p50 ${ms(percentile(raw, 0.5))}, p99 ${ms(percentile(raw, 0.99))}`,
        ratio: `${(percentile(waits, 0.5) / percentile(raw, 0.5)).toFixed(2)}×`,
        budget: 'p50 ≤ 20 ms, p99 ≤ 100 ms',
      },
    ];
  } finally {
    await reader.stop();
    await poller.stop();
  }
}

interface Arrivals {
  /** Key → when a consumer had the record, epoch milliseconds. */
  readonly seen: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

async function arrivals(topics: LogTopics, topic: string): Promise<Arrivals> {
  const seen = new Map<string, number>();
  const stop = new AbortController();
  let assigned = false;
  const running = createRecordStream({
    kafka: topics.own.kafka,
    groupId: `bench-${randomUUID()}`,
    topic,
  }).run(
    {
      assigned(ranges) {
        assigned = true;
        return Promise.resolve(new Map([...ranges].map(([partition, { low }]) => [partition, low])));
      },
      revoked: () => undefined,
      batch({ records, next }) {
        const at = epochMs();
        for (const { key } of records) seen.set(Buffer.from(key!).toString(), at);
        return Promise.resolve({ kind: 'done', next });
      },
    },
    stop.signal,
  );
  await until('the consumer has its partitions', () => assigned);
  return {
    seen,
    async stop() {
      stop.abort();
      await running;
    },
  };
}

/** One change per transaction, one after the other: from the call until a consumer has it. */
async function rawLatency(topics: LogTopics, mapping: CapturedTable['mapping']): Promise<number[]> {
  const topic = await topics.of({ ...mapping, name: `${mapping.name}_raw` });
  const log = topic.log();
  await log.open();
  const reader = await arrivals(topics, topic.topic);
  const waits: number[] = [];
  try {
    for (let n = 1; n <= 200; n++) {
      const begun = epochMs();
      await log.publish({ changes: [rawChange(n)], rejected: [], position: { n } });
      await until('it arrives', () => reader.seen.has(String(n)), { everyMs: 1 });
      if (n > 50) waits.push(reader.seen.get(String(n))! - begun);
    }
  } finally {
    await reader.stop();
  }
  return waits;
}

function rawChange(n: number): Change {
  return {
    op: 'update',
    key: String(n),
    before: [n, `Employee ${n}`, '50000.00'],
    after: [n, `Employee ${n}`, '60000.50'],
    origin: 'postgres',
    table: 'employees',
    position: n,
    ts: Date.now() * 1000,
    tx: 1000,
    load: null,
  };
}
