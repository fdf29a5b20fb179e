import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { loadConfig } from '../../src/service/config/load.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { setupTables } from '../../src/service/setup.ts';
import type { Site } from './site.ts';
import type { Later } from './undoing.ts';

/** Another database on the same server, which has its own name and cannot reach Databricks. */
export interface Copy {
  readonly config: Config;
  readonly configFile: string;
  readonly pool: pg.Pool;
}

export async function openCopy(site: Site, later: Later): Promise<Copy> {
  const name = `${site.name}_copy`;
  const server = new pg.Client({ connectionString: site.config.postgres.url });
  await server.connect();
  await server.query(`create database ${name}`);
  await server.end();
  const folder = later(mkdtempSync(join(tmpdir(), 'deltaferry-copy-')), (made) =>
    rmSync(made, { recursive: true, force: true }),
  );
  const configFile = join(folder, 'deltaferry.yaml');
  const url = new URL(site.config.postgres.url);
  url.pathname = `/${name}`;
  const pool = openPool({ url: url.href, applicationName: 'deltaferry test' });
  later(pool, async () => {
    await pool.end();
    const dropping = new pg.Client({ connectionString: site.config.postgres.url });
    await dropping.connect();
    await dropping.query(`drop database ${name} with (force)`);
    await dropping.end();
  });
  const { kafka, registry, databricks, topics } = site.config;
  const table = site.config.tables[0]!;
  const input = {
    kafka: { brokers: kafka.brokers, clientId: name },
    registry: { url: registry.url },
    postgres: { id: 'replica', url: url.href },
    // Nobody answers there.
    databricks: { ...databricks, host: '127.0.0.1', port: 1 },
    tables: [
      {
        name: table.name,
        topic: table.topic,
        partitions: table.partitions,
        direction: 'delta-to-postgres',
        key: 'emp_id',
        columns: { emp_id: 'bigint', name: 'text', salary: 'numeric(12,2)' },
        postgres: { table: 'public.employees' },
        delta: { table: site.deltaTable },
      },
    ],
    topics: { positions: topics.positions },
  };
  writeFileSync(configFile, JSON.stringify(input), { mode: 0o600 });
  const config = await loadConfig({ file: configFile, env: {} });
  await setupTables(config, { withoutDelta: true });
  return { config, configFile, pool };
}
