import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import pg from 'pg';
import { openDatabricks, type Databricks } from '../src/connections/databricks/client.ts';
import { databricksOptions } from '../src/service/connect.ts';
import { loadConfig } from '../src/service/config/load.ts';
import type { Config } from '../src/service/config/schema.ts';
import type { TableConfig } from '../src/service/config/table-schema.ts';
import { setupTables } from '../src/service/setup.ts';
import { stackStatus, startStack, stopStack, type Endpoints } from '../src/stack/stack.ts';
import { until } from '../test/support/until.ts';
import { peakMegabytes } from './figures.ts';

/** A stack of its own, one table, and connections to measure with that are not the service's. */
export interface Site {
  readonly configFile: string;
  readonly config: Config;
  readonly postgres: pg.Client;
  readonly warehouse: Databricks;
  close(): Promise<void>;
}

export const STACK_DIR = resolve('.deltaferry/bench');

/** `tables` are created in Delta by the caller; here each gets a name of its own, so that sections do not mix. */
export async function openSite(
  table: string,
  direction: TableConfig['direction'] = 'delta-to-postgres',
): Promise<Site> {
  await startStack({ dir: STACK_DIR, ownerPid: process.pid });
  mkdirSync(STACK_DIR, { recursive: true });
  const configFile = join(STACK_DIR, `${table}.yaml`);
  writeFileSync(
    configFile,
    `tables:
  - name: ${table}
    direction: ${direction}
    key: emp_id
    columns: { emp_id: bigint, name: text, salary: 'numeric(12,2)' }
`,
  );
  const config = await loadConfig({ file: configFile, stackDir: STACK_DIR });
  const postgres = new pg.Client({ connectionString: stackPostgresUrl() });
  // The stack may be stopped under it when a section fails; the failure itself is what counts.
  postgres.on('error', () => {});
  await postgres.connect();
  const warehouse = openDatabricks(databricksOptions(config));
  return {
    configFile,
    config,
    postgres,
    warehouse,
    close: async () => {
      await postgres.end();
      await warehouse.close();
    },
  };
}

export async function closeStack(): Promise<void> {
  await stopStack({ dir: STACK_DIR, wipe: true });
}

/** Peak resident memory of each engine that is one process, in MB, since the stack was started. */
export async function enginePeaks(): Promise<Readonly<Record<string, number>>> {
  const { parts } = await stackStatus({ dir: STACK_DIR });
  return Object.fromEntries(
    parts.flatMap(({ part, pid }) =>
      pid === undefined || part === 'postgres' ? [] : [[part, peakMegabytes(pid)]],
    ),
  );
}

export async function createDeltaTable(site: Site, rows: number): Promise<void> {
  const table = site.config.tables[0]!.delta.table;
  await site.warehouse.query({
    doing: 'creating the table',
    sql: `CREATE TABLE ${table} (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA
     TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableInCommitTimestamps = true)`,
  });
  if (rows > 0)
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${table} SELECT id, concat('Employee ', id), CAST(50000 + id % 1000 AS DECIMAL(12,2)) FROM range(${rows})`,
    });
  await setupTables(site.config);
}

/** `_commit_timestamp` of the newest commit in microseconds, and its version. */
export async function newestCommit(site: Site): Promise<{ version: number; micros: number }> {
  const [row] = await site.warehouse.query({
    doing: 'reading the newest commit',
    sql: `DESCRIBE HISTORY ${site.config.tables[0]!.delta.table} LIMIT 1`,
  });
  return { version: Number(row!['version']), micros: (row!['timestamp'] as Date).getTime() * 1000 };
}

export const historyTable = (site: Site): string =>
  site.config.tables[0]!.postgres.table.split('.')
    .map((part) => pg.escapeIdentifier(part))
    .join('.');

/** Waits until so many rows that meet the condition are visible to a connection that is not the service's. */
export async function untilVisible(
  site: Site,
  condition: string,
  rows: number,
  timeoutMs = 600_000,
): Promise<void> {
  const count = async (among: string): Promise<number> => {
    const { rows: found } = await site.postgres.query<{ n: string }>(
      `SELECT count(*) AS n FROM ${historyTable(site)} WHERE ${condition} AND ${among}`,
    );
    return Number(found[0]!.n);
  };
  // Keys arrive in their order: the last few are asked for by index, then all are counted once. Counting all the
  // time would take from the machine what is measured.
  const few = Math.min(200, rows);
  const last = `emp_id BETWEEN ${rows - few} AND ${rows - 1}`;
  await until(
    `${rows} rows with ${condition}`,
    async () => (await count(last)) >= few && (await count('true')) >= rows,
    { timeoutMs, everyMs: 20 },
  );
}

export function stackEndpoints(): Endpoints {
  return JSON.parse(readFileSync(join(STACK_DIR, 'stack.json'), 'utf8')) as Endpoints;
}

export const stackPostgresUrl = (): string => stackEndpoints().postgres.url;
