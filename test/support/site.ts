import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kafka } from 'kafkajs';
import pg from 'pg';
import { createChangeEncoder } from '../../src/change/avro.ts';
import type { Change } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { openDatabricks, type Databricks } from '../../src/connections/databricks/client.ts';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { openKafka } from '../../src/connections/kafka/client.ts';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { createSchemaRegistry } from '../../src/connections/registry/schemas.ts';
import { loadConfig } from '../../src/service/config/load.ts';
import type { Config, ConfigInput } from '../../src/service/config/schema.ts';
import { mappingOf, type TableConfig } from '../../src/service/config/table-schema.ts';
import type { Role } from '../../src/service/run.ts';
import { setupTables } from '../../src/service/setup.ts';
import { testStack, type StackEndpoints } from './stack.ts';

export interface SiteOptions {
  /** Begins the names of everything that the site owns. */
  readonly prefix: string;
  /** Default: the stack that the whole run shares. */
  readonly endpoints?: StackEndpoints;
  /** Default 4. */
  readonly partitions?: number;
  /** Default: `delta-to-postgres`. */
  readonly direction?: TableConfig['direction'];
  readonly settings?: Pick<ConfigInput, 'batching' | 'merging' | 'polling' | 'delivery'>;
  /** Of its CREATE TABLE, beside what every test's Delta table has. Default: nothing more. */
  readonly deltaTable?: { readonly clauses: string; readonly properties: readonly string[] };
}

/** A database, a Delta table, topics and a configuration file of one test's own, set up as `deltaferry setup` does. */
export interface Site {
  /** The configured table's name; the topics, the database and the Delta schema begin with it. */
  readonly name: string;
  readonly topic: string;
  readonly deltaTable: string;
  readonly config: Config;
  readonly configFile: string;
  readonly mapping: TableMapping;
  /** Connections of the test's own: what it sees is committed. */
  readonly pool: pg.Pool;
  readonly kafka: Kafka;
  readonly warehouse: Databricks;
  /** What a sink or a poller of this site calls itself in pg_stat_activity. */
  readonly applicationName: (role: Role) => string;
  /** Publishes changes straight to the topic, a transaction per call. */
  openPublisher(): Promise<Publisher>;
  drop(): Promise<void>;
}

export interface Publisher {
  publish(changes: readonly Change[]): Promise<void>;
  close(): Promise<void>;
}

const DELTA_PROPERTIES = ['delta.enableChangeDataFeed = true', 'delta.enableInCommitTimestamps = true'];

export async function openSite(options: SiteOptions): Promise<Site> {
  const endpoints = options.endpoints ?? testStack();
  const name = `${options.prefix}_${randomBytes(4).toString('hex')}`;
  const folder = mkdtempSync(join(tmpdir(), `deltaferry-${options.prefix}-`));
  const configFile = join(folder, 'deltaferry.yaml');
  const postgresUrl = new URL(endpoints.postgres.url);
  postgresUrl.pathname = `/${name}`;
  const input = {
    kafka: { brokers: [...endpoints.kafka.brokers], clientId: name },
    registry: endpoints.registry,
    postgres: { url: postgresUrl.href },
    databricks: endpoints.databricks,
    tables: [
      {
        name,
        topic: `${name}_changes`,
        partitions: options.partitions ?? 4,
        direction: options.direction ?? ('delta-to-postgres' as const),
        key: 'emp_id',
        columns: { emp_id: 'bigint', name: 'text', salary: 'numeric(12,2)' },
        postgres: { table: 'public.employees' },
        delta: { table: `${name}.employees` },
      },
    ],
    topics: { positions: `${name}.positions` },
    ...options.settings,
  };
  // JSON is YAML, too.
  writeFileSync(configFile, JSON.stringify(input), { mode: 0o600 });

  await onServer(endpoints, `create database ${name}`);
  const config = await loadConfig({ file: configFile, env: {} });
  const pool = openPool({ url: postgresUrl.href, applicationName: 'deltaferry test' });
  const kafka = openKafka({ brokers: endpoints.kafka.brokers, clientId: `${name}-test` });
  const warehouse = openDatabricks(endpoints.databricks);
  const table = config.tables[0]!;
  const mapping = mappingOf(table);

  async function drop(): Promise<void> {
    await pool.end();
    await dropTopics(kafka, name);
    await warehouse.query({ doing: 'tidying up', sql: `DROP SCHEMA IF EXISTS ${name} CASCADE` });
    await warehouse.close();
    await onServer(endpoints, `drop database ${name} with (force)`);
    rmSync(folder, { recursive: true, force: true });
  }

  try {
    await warehouse.query({ doing: 'preparing a test', sql: `CREATE SCHEMA ${name}` });
    const { clauses, properties } = options.deltaTable ?? { clauses: '', properties: [] };
    await warehouse.query({
      doing: 'preparing a test',
      sql:
        `CREATE TABLE ${table.delta.table} (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA ${clauses} ` +
        `TBLPROPERTIES (${[...DELTA_PROPERTIES, ...properties].join(', ')})`,
    });
    await setupTables(config);
  } catch (error) {
    await drop().catch(() => undefined);
    throw error;
  }

  return {
    name,
    topic: table.topic,
    deltaTable: table.delta.table,
    config,
    configFile,
    mapping,
    pool,
    kafka,
    warehouse,
    applicationName: (role) => `deltaferry ${role}/${name}`,
    async openPublisher() {
      const registry = createSchemaRegistry(config.registry);
      const id = await registry.latestId(`${table.topic}-value`);
      registry.close();
      if (id === null) throw new Error(`no schema of ${table.topic} is registered`);
      const encoder = createChangeEncoder(mapping, id);
      const log = createChangeLog({
        kafka,
        producerName: 'test',
        table: name,
        topic: table.topic,
        partitions: table.partitions,
        deadLetterTopic: `${table.topic}.dead-letters`,
        positionsTopic: config.topics.positions,
        encode: (change) => encoder.encode(change, Date.now() * 1000),
      });
      await log.open();
      let published = 0;
      return {
        async publish(changes) {
          published += changes.length;
          await log.publish({ changes, rejected: [], position: { published } });
        },
        close: () => log.close(),
      };
    },
    drop,
  };
}

async function onServer({ postgres }: StackEndpoints, statement: string): Promise<void> {
  const server = new pg.Client({ connectionString: postgres.url });
  await server.connect();
  try {
    await server.query(statement);
  } finally {
    await server.end();
  }
}

async function dropTopics(kafka: Kafka, name: string): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const own = (await admin.listTopics()).filter((topic) => topic.startsWith(name));
    if (own.length > 0) await admin.deleteTopics({ topics: own });
  } finally {
    await admin.disconnect();
  }
}
