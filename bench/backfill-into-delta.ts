import { openPool } from '../src/connections/postgres/pool.ts';
import { wireIntoDelta } from '../src/service/backfill-into-delta.ts';
import { postgresOptions } from '../src/service/connect.ts';
import { perSecond, type Figure } from './figures.ts';
import { fillHistory } from './load.ts';
import { backfillCommand, memoryFigures, stageFigures, timeFigure } from './load-command.ts';
import { readAlone } from './read-alone.ts';
import {
  createDeltaTable,
  enginePeaks,
  historyTable,
  openSite,
  stackPostgresUrl,
  type Site,
} from './site.ts';

const LONGEST_STATEMENT_MS = 3_600_000;

/** A whole history in Postgres into an empty Delta table, beside Spark's own JDBC read of the same rows into another. */
export async function backfillIntoDelta(rows: number): Promise<Figure[]> {
  const site = await openSite('bench_into_delta', 'both');
  try {
    await createDeltaTable(site, 0);
    // As before it was captured.
    await site.postgres.query(`SET deltaferry.origin = 'older'`);
    await fillHistory(site, rows);
    const loaded = await backfillCommand('bench_into_delta', site.configFile, '--from', 'postgres');
    const engines = await enginePeaks();
    await verify(site, rows);
    const readMs = await readPostgresAlone(site, rows);
    const jdbcMs = await sparkJdbcRead(site, rows);
    const took = loaded.seconds * 1000;
    return [
      {
        ...timeFigure('', rows, took),
        what: 'history in Postgres until visible in Delta',
        limit: `Spark JDBC into a Delta table: ${perSecond(rows, jdbcMs)}`,
        ratio: `${(jdbcMs / took).toFixed(2)} of Spark JDBC`,
        budget: '≥ 50,000/s',
      },
      ...stageFigures(loaded, [
        ['pinning', 'choosing the version, counting'],
        ['exporting', 'dividing into pieces'],
        ['loading', 'reading, publishing and staging at once'],
        ['handing over', 'merging into the table'],
      ]),
      timeFigure('reading alone', rows, readMs),
      ...memoryFigures({ publisher: loaded.publisher, loader: loaded.loader }),
      ...memoryFigures(engines, ''),
    ];
  } finally {
    await site.close();
  }
}

async function readPostgresAlone({ config, warehouse }: Site, rows: number): Promise<number> {
  const connection = postgresOptions(config);
  const pool = openPool({ ...connection, maxConnections: 1 });
  const { source, close } = wireIntoDelta({
    config,
    table: config.tables[0]!,
    pool,
    databricks: warehouse,
    connection,
    onTrouble: console.error,
    signal: new AbortController().signal,
  });
  try {
    return await readAlone(source, rows);
  } finally {
    await close();
    await pool.end();
  }
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
  const url = new URL(stackPostgresUrl());
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
