/**
 * `npm run bench -- log [section …]`: the log poller alone, from the log in Postgres to the topic, each figure beside
 * the raw limit of this machine in this run. Sections: rate, latency. Uses the stack of DELTAFERRY_TEST_STACK.
 */
import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { Change } from '../src/change/change.ts';
import { BEGIN_READ, SET_WINDOW, windowSql } from '../src/connections/postgres/log-sql.ts';
import { openCaptureDatabase, type CaptureDatabase, type CapturedTable } from '../test/producers/captured-table.ts';
import { FakeLeadership } from '../test/producers/fake-log.ts';
import { startLogPoller } from '../test/producers/log-run.ts';
import { openLogTopics, type LogTopics, type TableTopics } from '../test/producers/log-topics.ts';
import { until } from '../test/support/until.ts';
import { peakMegabytes, perSecond, printFigures, seconds, type Figure } from './figures.ts';

const ROWS = Number(process.env['BENCH_LOG_ROWS'] ?? 1_000_000);

interface Site {
  readonly database: CaptureDatabase;
  readonly topics: LogTopics;
}

const sections: Record<string, (site: Site) => Promise<Figure[]>> = { rate };

const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
const site: Site = { database: await openCaptureDatabase(), topics: await openLogTopics('bench-log') };
try {
  for (const [name, section] of Object.entries(sections))
    if (wanted.length === 0 || wanted.includes(name)) printFigures(name, await section(site));
} finally {
  await site.topics.drop();
  await site.database.drop();
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
  const begun = performance.now();
  const run = startLogPoller({
    table: table.name,
    source: table.source(),
    log: topic.log(),
    leadership: new FakeLeadership().port(),
  });
  let done = 0;
  await until('everything is published', () => {
    done = run.published.reduce((sum, { changes }) => sum + changes, 0);
    return done >= ROWS;
  });
  const took = performance.now() - begun;
  const memory = peakMegabytes(process.pid);
  await run.drain();
  const readMs = await rawRead(table, from, to);
  const { ms: sendMs, changes } = await rawSend(await topics.of({ ...table.mapping, name: `${table.name}_raw` }));
  const sent = (ROWS / changes) * sendMs;
  return [
    {
      what: `${done.toLocaleString('en')} rows of one transaction, log to topic`,
      figure: `${seconds(took)}, ${perSecond(done, took)}`,
      limit: `read alone ${seconds(readMs)} (${perSecond(ROWS, readMs)}), kafkajs alone ${seconds(sent)} (${perSecond(changes, sendMs)})`,
      ratio: `${(took / Math.max(readMs, sent)).toFixed(2)}× the slower of both`,
      budget: '≥ 50,000/s, aim 100,000/s',
    },
    { what: 'peak resident memory', figure: `${memory} MB`, limit: '', ratio: '', budget: '≤ 512 MB' },
  ];
}

async function snapshot(table: CapturedTable): Promise<string> {
  const [row] = await table.sql<{ now: string }>('SELECT pg_current_snapshot()::text AS now');
  return row!.now;
}

/** The same window with the same query, its bytes thrown away. */
async function rawRead(table: CapturedTable, from: string, to: string): Promise<number> {
  const client = new pg.Client({ connectionString: table.url });
  await client.connect();
  const begun = performance.now();
  await client.query(BEGIN_READ);
  await client.query(SET_WINDOW, [from, to, '0']);
  for await (const chunk of client.query(copyTo(windowSql(table.log)))) void chunk;
  await client.query('COMMIT');
  const took = performance.now() - begun;
  await client.end();
  return took;
}

/** Changes that lie in memory, in transactions of the size that the poller makes. */
async function rawSend(topic: TableTopics): Promise<{ ms: number; changes: number }> {
  const batch: Change[] = Array.from({ length: 20_000 }, (_, n) => ({
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
  }));
  const log = topic.log();
  await log.open();
  await log.publish({ changes: batch, rejected: [], position: { n: 0 } });
  const begun = performance.now();
  for (let n = 1; n <= 10; n++) await log.publish({ changes: batch, rejected: [], position: { n } });
  return { ms: performance.now() - begun, changes: batch.length * 10 };
}
