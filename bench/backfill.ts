/**
 * `npm run bench -- backfill [--rows N] [--random] [--without-volume] [--from postgres]`: a whole Delta table into an empty,
 * indexed history, beside the same rows from Kafka alone, published alone, by one COPY, and by Spark's own JDBC writer.
 * `--random`: the table's rows lie in random order of their ids. `--without-volume`: they are read the slow way, as results.
 * `--from postgres`: the other way (backfill-into-delta.ts).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { loadConfig } from '../src/service/config/load.ts';
import { setupTables } from '../src/service/setup.ts';
import { backfillIntoDelta } from './backfill-into-delta.ts';
import { perSecond, printFigures, seconds, type Figure } from './figures.ts';
import { copyIntoTwin } from './load.ts';
import { backfillCommand, stageFigures, type Loaded } from './load-command.ts';
import { publishFromMemory } from './publish-load.ts';
import {
  closeStack,
  createDeltaTable,
  historyTable,
  openSite,
  STACK_DIR,
  stackEndpoints,
  stackPostgresUrl,
  type Site,
} from './site.ts';

const LONGEST_STATEMENT_MS = 3_600_000;

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '2000000' },
    random: { type: 'boolean', default: false },
    'without-volume': { type: 'boolean', default: false },
    from: { type: 'string', default: 'delta' },
  },
});
const rows = Number(values.rows);
if (!Number.isInteger(rows) || rows < 1) {
  console.error('--rows takes a whole number');
  process.exit(2);
}
if ((values.random || values['without-volume']) && values.from === 'postgres') {
  console.error('--random and --without-volume are for reading Delta; leave out --from postgres');
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

async function backfill(): Promise<Figure[]> {
  const site = await openSite('bench_backfill');
  try {
    await createDeltaTable(site, values.random ? 0 : rows);
    if (values.random) await fillInRandomOrder(site);
    const configFile = values['without-volume'] ? withoutVolume(site) : site.configFile;
    const loaded = await backfillCommand('bench_backfill', configFile);
    await verify(site.postgres, site);
    const fromTopic = await copyFromTopic(site);
    const publishMs = await publishFromMemory(site, rows);
    await site.postgres.query('CHECKPOINT');
    const copyMs = await copyIntoTwin(site, rows);
    const jdbcMs = await sparkJdbc(site);
    const took = loaded.seconds * 1000;
    return [
      {
        what: 'Delta until visible in the indexed history',
        figure: `${perSecond(rows, took)}, ${seconds(took)}`,
        limit: `COPY by one connection, indexed: ${perSecond(rows, copyMs)}; Spark JDBC, no index: ${perSecond(rows, jdbcMs)}`,
        ratio: `${(copyMs / took).toFixed(2)} of COPY, ${(jdbcMs / took).toFixed(2)} of Spark JDBC`,
        budget: '≥ 67,000/s, aim 90,000/s',
      },
      ...stageFigures(loaded, [
        ['pinning', 'choosing the version'],
        ...(values['without-volume'] ? [] : ([['exporting', 'exporting to the volume']] as const)),
        ['loading', 'reading, publishing and loading beside the table'],
        ['handing over', 'moving into the table'],
      ]),
      {
        what: 'another database from Kafka alone (--from topic)',
        figure: `${perSecond(rows, fromTopic.seconds * 1000)}, ${seconds(fromTopic.seconds * 1000)}`,
        limit: '',
        ratio: `${(took / 1000 / fromTopic.seconds).toFixed(2)} times the speed from Delta`,
        budget: '',
      },
      ...stageFigures(fromTopic, [
        ['loading', 'loading beside the table'],
        ['handing over', 'moving into the table'],
      ]),
      {
        what: 'publishing rows made in memory, alone',
        figure: `${perSecond(rows, publishMs)}, ${seconds(publishMs)}`,
        limit: '',
        ratio: `${(took / publishMs).toFixed(2)} times the speed from Delta`,
        budget: '',
      },
    ];
  } finally {
    await site.close();
  }
}

/** The same rows from the topic into another database: neither Delta nor whoever publishes has a part in it. */
async function copyFromTopic(site: Site): Promise<Loaded> {
  await site.postgres.query('CREATE DATABASE bench_copy');
  const url = new URL(stackPostgresUrl());
  url.pathname = '/bench_copy';
  const configFile = configBeside(site, 'bench_copy', { postgres: { id: 'copy', url: url.href } });
  await setupTables(await loadConfig({ file: configFile, stackDir: STACK_DIR }));
  const loaded = await backfillCommand('bench_backfill', configFile, '--from', 'topic');
  const copy = new pg.Client({ connectionString: url.href });
  await copy.connect();
  await verify(copy, site);
  await copy.end();
  await site.postgres.query('DROP DATABASE bench_copy');
  return loaded;
}

function withoutVolume(site: Site): string {
  const { stagingVolume: _, ...databricks } = stackEndpoints().databricks;
  return configBeside(site, 'bench_without_volume', { databricks });
}

/** The site's configuration with other connections in place of the stack's. */
function configBeside(site: Site, name: string, connections: Readonly<Record<string, object>>): string {
  const file = join(STACK_DIR, `${name}.yaml`);
  const lines = Object.entries(connections).map(([part, to]) => `${part}: ${JSON.stringify(to)}\n`);
  writeFileSync(file, lines.join('') + readFileSync(site.configFile, 'utf8'), { mode: 0o600 });
  return file;
}

async function verify(postgres: pg.Client, site: Site): Promise<void> {
  const { rows: found } = await postgres.query<{ n: string; keys: string }>(
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
  const url = new URL(stackPostgresUrl());
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
