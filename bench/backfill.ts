/**
 * `npm run bench -- backfill [--rows N] [--from delta|postgres] [--random] [--without-volume]`: whole tables, both ways:
 * a Delta table into an empty, indexed history, and a history into an empty Delta table (backfill-into-delta.ts). Each
 * stage is timed within the load and alone, and beside them the same rows by one COPY and by Spark's own JDBC.
 * `--from`: one way only. `--random`: also a table whose rows lie in random order of their ids. `--without-volume`:
 * Delta is read the slow way, as results.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { createSnapshotSource } from '../src/connections/databricks/snapshot.ts';
import { loadConfig } from '../src/service/config/load.ts';
import { mappingOf } from '../src/service/config/table-schema.ts';
import { setupTables } from '../src/service/setup.ts';
import { backfillIntoDelta } from './backfill-into-delta.ts';
import { perSecond, printFigures, type Figure } from './figures.ts';
import { loadFromMemory } from './kafka-path.ts';
import { copyIntoTwin } from './load.ts';
import { backfillCommand, memoryFigures, stageFigures, timeFigure, type Loaded } from './load-command.ts';
import { publishFromMemory } from './publish-load.ts';
import { readAlone } from './read-alone.ts';
import {
  closeStack,
  createDeltaTable,
  enginePeaks,
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
    from: { type: 'string' },
  },
});
const rows = Number(values.rows);
if (!Number.isInteger(rows) || rows < 1) refuse('--rows takes a whole number');
if (![undefined, 'delta', 'postgres'].includes(values.from)) refuse('--from takes delta or postgres');
if ((values.random || values['without-volume']) && values.from === 'postgres')
  refuse('--random and --without-volume are for reading Delta; leave out --from postgres');

/** From Delta in the order of its ids, which the random order is compared with. */
let inOrder: Loaded | null = null;

try {
  const of = `of ${rows.toLocaleString('en')} rows`;
  // Each is told as soon as it is known: a long run that fails late has not been for nothing.
  if (values.from !== 'postgres') printFigures(`backfill ${of}`, await backfill());
  if (values.random) printFigures(`backfill ${of} in random order of their ids`, await inRandomOrder());
  if (values.from !== 'delta') printFigures(`backfill ${of} from Postgres`, await backfillIntoDelta(rows));
} finally {
  await closeStack();
}

function refuse(text: string): never {
  console.error(text);
  process.exit(2);
}

async function backfill(): Promise<Figure[]> {
  const site = await openSite('bench_backfill');
  try {
    await createDeltaTable(site, rows);
    const loaded = await backfillCommand('bench_backfill', configOf(site));
    inOrder = loaded;
    const engines = await enginePeaks();
    await verify(site.postgres, site);
    const readMs = await readDeltaAlone(site);
    const fromTopic = await copyFromTopic(site);
    const publishMs = await publishFromMemory(site, rows);
    const fromMemory = await loadFromMemory(rows);
    await site.postgres.query('CHECKPOINT');
    const copyMs = await copyIntoTwin(site, rows, 'csv');
    const jdbcMs = await sparkJdbc(site);
    const took = loaded.seconds * 1000;
    return [
      {
        ...timeFigure('', rows, took),
        what: 'Delta until visible in the indexed history',
        limit: `CSV COPY by one connection, indexed: ${perSecond(rows, copyMs)}; Spark JDBC, no index: ${perSecond(rows, jdbcMs)}`,
        ratio: `${(copyMs / took).toFixed(2)} of COPY, ${(jdbcMs / took).toFixed(2)} of Spark JDBC`,
        budget: '≥ 67,000/s, aim 90,000/s',
      },
      ...stageFigures(loaded, [
        ['pinning', 'choosing the version'],
        ...(values['without-volume'] ? [] : ([['exporting', 'exporting to the volume']] as const)),
        ['loading', 'reading, publishing and loading beside the table at once'],
        ['handing over', 'moving into the table'],
      ]),
      timeFigure('reading alone', rows, readMs),
      timeFigure('publishing alone, rows made in memory', rows, publishMs),
      ...stageFigures(fromTopic, [['loading', 'loading beside the table alone, from the topic']]),
      ...memoryFigures({ publisher: loaded.publisher, loader: loaded.loader }),
      ...memoryFigures(engines, ''),
      {
        ...timeFigure('', rows, fromMemory.seconds * 1000),
        what: 'the Kafka path without Delta: rows made in memory until visible',
        ratio: `${(took / 1000 / fromMemory.seconds).toFixed(2)} times the speed from Delta`,
      },
      ...stageFigures(fromMemory, [
        ['loading', 'publishing and loading beside the table at once'],
        ['handing over', 'moving into the table'],
      ]),
      {
        ...timeFigure('', rows, fromTopic.seconds * 1000),
        what: 'another database from Kafka alone (--from topic)',
        ratio: `${(took / 1000 / fromTopic.seconds).toFixed(2)} times the speed from Delta`,
      },
      ...stageFigures(fromTopic, [['handing over', 'moving into the table']]),
      ...memoryFigures({ loader: fromTopic.loader }),
    ];
  } finally {
    await site.postgres.query(`DROP TABLE ${historyTable(site)}`).catch(() => {});
    await site.close();
  }
}

async function inRandomOrder(): Promise<Figure[]> {
  const site = await openSite('bench_random');
  try {
    await createDeltaTable(site, 0);
    await fillInRandomOrder(site);
    const loaded = await backfillCommand('bench_random', configOf(site));
    await verify(site.postgres, site);
    return [
      {
        ...timeFigure('', rows, loaded.seconds * 1000),
        what: 'Delta until visible in the indexed history',
        limit: `in the order of the ids: ${perSecond(rows, inOrder!.seconds * 1000)}`,
        ratio: `${(inOrder!.seconds / loaded.seconds).toFixed(2)} of the speed in order`,
        budget: '≥ 0.5',
      },
      ...stageFigures(loaded, [
        ['loading', 'reading, publishing and loading beside the table at once'],
        ['handing over', 'moving into the table'],
      ]),
    ];
  } finally {
    await site.close();
  }
}

function readDeltaAlone({ config, warehouse }: Site): Promise<number> {
  const table = config.tables[0]!;
  const source = createSnapshotSource({
    client: warehouse,
    table: table.delta.table,
    mapping: mappingOf(table),
    volume: values['without-volume'] ? undefined : config.databricks.stagingVolume,
  });
  return readAlone(source, rows);
}

function configOf(site: Site): string {
  return values['without-volume'] ? withoutVolume(site) : site.configFile;
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
  return configBeside(site, `${site.config.tables[0]!.name}_without_volume`, { databricks });
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
