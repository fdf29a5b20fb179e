import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { serviceFlags } from '../bin/node-flags.js';
import { peakMegabytes, perSecond, seconds, type Figure } from './figures.ts';
import { fillHistory } from './load.ts';
import { createDeltaTable, historyTable, openSite, STACK_DIR, type Site } from './site.ts';

const MAIN = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
const LONGEST_STATEMENT_MS = 3_600_000;

interface Result {
  readonly rows: number;
  readonly seconds: number;
  readonly stages: Readonly<Record<string, number>>;
}

/** A whole history in Postgres into an empty Delta table, beside Spark's own JDBC read of the same rows into another. */
export async function backfillIntoDelta(rows: number): Promise<Figure[]> {
  const site = await openSite('bench_into_delta', 'both');
  try {
    await createDeltaTable(site, 0);
    // As before it was captured.
    await site.postgres.query(`SET deltaferry.origin = 'older'`);
    await fillHistory(site, rows);
    const { result, peak } = await load(site);
    await verify(site, rows);
    const jdbcMs = await sparkJdbcRead(site, rows);
    const took = result.seconds * 1000;
    const stage = (name: string): number => (result.stages[name] ?? 0) * 1000;
    const line = (what: string, ms: number, limit = '', ratio = '', budget = ''): Figure => ({
      what,
      figure: `${perSecond(rows, ms)}, ${seconds(ms)}`,
      limit,
      ratio,
      budget,
    });
    const memory = (what: string, megabytes: number): Figure => ({
      what,
      figure: `${megabytes} MB`,
      limit: '',
      ratio: '',
      budget: '≤ 512 MB',
    });
    return [
      line(
        'history in Postgres until visible in Delta',
        took,
        `Spark JDBC into a Delta table: ${perSecond(rows, jdbcMs)}`,
        `${(jdbcMs / took).toFixed(2)} of Spark JDBC`,
        '≥ 50,000/s',
      ),
      line('  choosing the version, counting', stage('pinning')),
      line('  dividing into pieces', stage('exporting')),
      line('  reading, publishing and staging', stage('loading')),
      line('  merging into the table', stage('handing over')),
      memory('publisher, peak resident memory', peak.publisher),
      memory('loader, peak resident memory', peak.loader),
    ];
  } finally {
    await site.close();
  }
}

async function load(site: Site): Promise<{ result: Result; peak: { publisher: number; loader: number } }> {
  const name = site.config.tables[0]!.name;
  const args = ['backfill', name, '--config', site.configFile, '--stack', STACK_DIR];
  const child = spawn(process.execPath, [...serviceFlags, MAIN, ...args, '--from', 'postgres', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const peak = { publisher: 0, loader: 0 };
  const watching = setInterval(() => {
    try {
      peak.publisher = peakMegabytes(child.pid!);
      const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
      if (children !== '') peak.loader = peakMegabytes(Number(children.split(' ')[0]));
    } catch {
      // One of them has just ended.
    }
  }, 100);
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(watching);
  if (code !== 0) throw new Error(`the backfill failed: ${printed}`);
  return { result: JSON.parse(printed) as Result, peak };
}

async function verify(site: Site, rows: number): Promise<void> {
  const [found] = await site.warehouse.query({
    doing: 'counting',
    timeoutMs: LONGEST_STATEMENT_MS,
    sql: `SELECT count(*) AS n, count(DISTINCT emp_id) AS keys FROM ${site.config.tables[0]!.delta.table}`,
  });
  if (Number(found?.['n']) !== rows || Number(found?.['keys']) !== rows)
    throw new Error(`${String(found?.['n'])} rows of ${String(found?.['keys'])} keys in Delta`);
}

/** Milliseconds. */
async function sparkJdbcRead(site: Site, rows: number): Promise<number> {
  const { postgres } = JSON.parse(readFileSync(`${STACK_DIR}/stack.json`, 'utf8')) as {
    postgres: { url: string };
  };
  const url = new URL(postgres.url);
  const options = {
    url: `jdbc:postgresql://${url.host}${url.pathname}`,
    dbtable: `(SELECT emp_id, name, salary FROM ${historyTable(site)} WHERE off_date IS NULL) AS current`,
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    driver: 'org.postgresql.Driver',
    fetchsize: '10000',
    partitionColumn: 'emp_id',
    lowerBound: '0',
    upperBound: String(rows),
    numPartitions: '4',
  };
  const list = Object.entries(options).map(([name, value]) => `${name} '${value}'`);
  const query = (sql: string) =>
    site.warehouse.query({ doing: 'reading by JDBC', sql, timeoutMs: LONGEST_STATEMENT_MS });
  const twin = `${site.config.tables[0]!.delta.table}_twin`;
  await query(`CREATE OR REPLACE TEMPORARY VIEW jdbc_source USING jdbc OPTIONS (${list.join(', ')})`);
  await query(`CREATE TABLE ${twin} (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA`);
  const began = performance.now();
  await query(`INSERT INTO ${twin} SELECT * FROM jdbc_source`);
  const ms = performance.now() - began;
  await query(`DROP TABLE ${twin}`);
  return ms;
}
