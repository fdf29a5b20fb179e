/**
 * `npm run bench -- backfill [--rows N] [--random | --from postgres]`: a whole Delta table into an empty, indexed history, beside the
 * same rows by one COPY and by Spark's own JDBC writer. `--random`: the table's rows lie in random order of their ids.
 * `--from postgres`: the other way (backfill-into-delta.ts).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { serviceFlags } from '../bin/node-flags.js';
import { backfillIntoDelta } from './backfill-into-delta.ts';
import { peakMegabytes, perSecond, printFigures, seconds, type Figure } from './figures.ts';
import { copyIntoTwin } from './load.ts';
import { closeStack, createDeltaTable, historyTable, openSite, STACK_DIR, type Site } from './site.ts';

const MAIN = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
const LONGEST_STATEMENT_MS = 3_600_000;

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '2000000' },
    random: { type: 'boolean', default: false },
    from: { type: 'string', default: 'delta' },
  },
});
const rows = Number(values.rows);
if (!Number.isInteger(rows) || rows < 1) {
  console.error('--rows takes a whole number');
  process.exit(2);
}

try {
  const figures = values.from === 'postgres' ? await backfillIntoDelta(rows) : await backfill();
  printFigures(
    `backfill of ${rows.toLocaleString('en')} rows${values.from === 'postgres' ? ' from Postgres' : ''}${values.random ? ', ids in random order' : ''}`,
    figures,
  );
} finally {
  await closeStack();
}

interface Result {
  readonly rows: number;
  readonly seconds: number;
  readonly stages: Readonly<Record<string, number>>;
}

interface Peak {
  publisher: number;
  loader: number;
}

async function backfill(): Promise<Figure[]> {
  const site = await openSite('bench_backfill');
  try {
    await createDeltaTable(site, values.random ? 0 : rows);
    if (values.random) await fillInRandomOrder(site);
    const { result, peak } = await load(site);
    await verify(site);
    await site.postgres.query('CHECKPOINT');
    const copyMs = await copyIntoTwin(site, rows);
    const jdbcMs = await sparkJdbc(site);
    const took = result.seconds * 1000;
    const stage = (name: string): number => (result.stages[name] ?? 0) * 1000;
    const line = (what: string, ms: number, limit = '', ratio = '', budget = ''): Figure => ({
      what,
      figure: `${perSecond(rows, ms)}, ${seconds(ms)}`,
      limit,
      ratio,
      budget,
    });
    return [
      line(
        'Delta until visible in the indexed history',
        took,
        `COPY by one connection, indexed: ${perSecond(rows, copyMs)}; Spark JDBC, no index: ${perSecond(rows, jdbcMs)}`,
        `${(copyMs / took).toFixed(2)} of COPY, ${(jdbcMs / took).toFixed(2)} of Spark JDBC`,
        '≥ 67,000/s, aim 90,000/s',
      ),
      line('  choosing the version', stage('pinning')),
      line('  exporting to the volume', stage('exporting')),
      line('  reading, publishing and loading beside the table', stage('loading')),
      line('  moving into the table', stage('handing over')),
      memory('publisher, peak resident memory', peak.publisher),
      memory('loader, peak resident memory', peak.loader),
    ];
  } finally {
    await site.close();
  }
}

function memory(what: string, megabytes: number): Figure {
  return { what, figure: `${megabytes} MB`, limit: '', ratio: '', budget: '≤ 512 MB' };
}

/** The command itself, in a process of its own as a user runs it. */
async function load(site: Site): Promise<{ result: Result; peak: Peak }> {
  const args = ['backfill', 'bench_backfill', '--config', site.configFile, '--stack', STACK_DIR, '--json'];
  const child = spawn(process.execPath, [...serviceFlags, MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const peak: Peak = { publisher: 0, loader: 0 };
  const watching = setInterval(() => notePeak(child.pid!, peak), 100);
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(watching);
  if (code !== 0) throw new Error(`the backfill failed: ${printed}`);
  return { result: JSON.parse(printed) as Result, peak };
}

function notePeak(pid: number, peak: Peak): void {
  try {
    peak.publisher = peakMegabytes(pid);
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    if (children !== '') peak.loader = peakMegabytes(Number(children.split(' ')[0]));
  } catch {
    // One of them has just ended.
  }
}

async function verify(site: Site): Promise<void> {
  const { rows: found } = await site.postgres.query<{ n: string; keys: string }>(
    `SELECT count(*) AS n, count(DISTINCT emp_id) AS keys FROM ${historyTable(site)} WHERE is_active AND off_date IS NULL`,
  );
  const { n, keys } = found[0]!;
  if (Number(n) !== rows || Number(keys) !== rows)
    throw new Error(`${n} rows of ${keys} keys in the history`);
}

async function fillInRandomOrder(site: Site): Promise<void> {
  const table = site.config.tables[0]!.delta.table;
  await site.warehouse.query({
    doing: 'filling the table',
    timeoutMs: LONGEST_STATEMENT_MS,
    sql: `INSERT INTO ${table} SELECT id, concat('Employee ', id), CAST(50000 + id % 1000 AS DECIMAL(12,2)) FROM range(${rows}) ORDER BY rand(7)`,
  });
}

/** Spark's own writer into a table without an index; milliseconds. */
async function sparkJdbc(site: Site): Promise<number> {
  const url = new URL(
    (JSON.parse(readFileSync(`${STACK_DIR}/stack.json`, 'utf8')) as { postgres: { url: string } }).postgres
      .url,
  );
  await site.postgres.query('CREATE TABLE jdbc_twin (emp_id bigint, name text, salary numeric(12,2))');
  const options = {
    url: `jdbc:postgresql://${url.host}${url.pathname}?reWriteBatchedInserts=true`,
    dbtable: 'jdbc_twin',
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    driver: 'org.postgresql.Driver',
    batchsize: '10000',
  };
  const list = Object.entries(options).map(([name, value]) => `${name} '${value}'`);
  const query = (sql: string) =>
    site.warehouse.query({ doing: 'writing by JDBC', sql, timeoutMs: LONGEST_STATEMENT_MS });
  await query(`CREATE OR REPLACE TEMPORARY VIEW jdbc_twin USING jdbc OPTIONS (${list.join(', ')})`);
  const began = performance.now();
  await query(`INSERT INTO jdbc_twin SELECT * FROM ${site.config.tables[0]!.delta.table}`);
  const ms = performance.now() - began;
  const { rows: found } = await site.postgres.query<{ n: string }>('SELECT count(*) AS n FROM jdbc_twin');
  if (Number(found[0]!.n) !== rows) throw new Error(`Spark wrote ${found[0]!.n} rows`);
  await site.postgres.query('DROP TABLE jdbc_twin');
  return ms;
}
