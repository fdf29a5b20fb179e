import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kafka } from 'kafkajs';
import pg from 'pg';
import { openDatabricks, type Databricks } from '../../src/connections/databricks/client.ts';
import { createDeltaTables } from '../../src/connections/databricks/delta-table.ts';
import { topicsAdmin } from '../../src/connections/kafka/admin.ts';
import { openKafka } from '../../src/connections/kafka/client.ts';
import { createHistoryTables } from '../../src/connections/postgres/history-table.ts';
import { migrate, pendingMigrations } from '../../src/connections/postgres/migrate.ts';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { createSchemaRegistry } from '../../src/connections/registry/schemas.ts';
import { loadConfig } from '../../src/service/config/load.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { mappingOf, type TableConfig } from '../../src/service/config/table-schema.ts';
import { deadLetterTopic, subjectOf } from '../../src/setup/request.ts';
import { setup } from '../../src/setup/setup.ts';
import { testStack } from './stack.ts';

export interface SiteOptions {
  /** Creates the Delta table as well, which takes Spark a second or two. */
  readonly delta?: boolean;
  readonly partitions?: number;
  /** Another registry than the test stack's. */
  readonly registryUrl?: string;
  /** Configuration by section, over the site's own. */
  readonly more?: Readonly<Record<string, object>>;
}

/** A database, topics, a Delta schema and a configuration file of one test's own, set up for `employees`. */
export interface Site {
  /** Prefix of everything that is the site's. */
  readonly name: string;
  readonly configFile: string;
  readonly config: Config;
  readonly table: TableConfig;
  readonly deadLetterTopic: string;
  /** Id of the registered schema of the changes. */
  readonly schemaId: number;
  readonly kafka: Kafka;
  /** A connection that is not the service's. */
  readonly postgres: pg.Pool;
  /** The configuration once more, with these fields (by path) in place of its own. */
  configWith(overrides: Readonly<Record<string, string>>): Promise<Config>;
  /** Runs a statement in the warehouse. */
  sql(statement: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  drop(): Promise<void>;
}

/** Everything exists when it resolves; a failure on the way leaves nothing behind but names nobody else uses. */
export async function openSite(prefix: string, options: SiteOptions = {}): Promise<Site> {
  const stack = testStack();
  const name = `${prefix}_${randomBytes(4).toString('hex')}`;
  const dir = mkdtempSync(join(tmpdir(), `${name}-`));
  const configFile = join(dir, 'deltaferry.yaml');
  const url = new URL(stack.postgres.url);
  url.pathname = `/${name}`;
  await asAdministrator(`CREATE DATABASE ${name}`);
  writeFileSync(configFile, JSON.stringify(configOf(name, url.href, options)));
  // Nothing of this machine's environment or folder counts.
  const load = (overrides: Readonly<Record<string, string>> = {}) =>
    loadConfig({ file: configFile, cwd: dir, env: {}, overrides });
  const config = await load();
  const table = config.tables[0]!;
  const postgres = openPool({ url: url.href, applicationName: `test ${name}` });
  const kafka = openKafka({ brokers: stack.kafka.brokers, clientId: name });
  let warehouse: Databricks | null = null;
  const sql = (statement: string) => {
    warehouse ??= openDatabricks(stack.databricks);
    return warehouse.query({ sql: statement, doing: 'a test' });
  };
  if (options.delta === true) {
    await sql(`CREATE SCHEMA ${name}`);
    await sql(
      `CREATE TABLE ${table.delta.table} (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA
       TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableInCommitTimestamps = true)`,
    );
  }
  const schemaId = await setUp(config, table, { kafka, postgres });
  return {
    name,
    configFile,
    config,
    table,
    deadLetterTopic: deadLetterTopic(table.topic),
    schemaId,
    kafka,
    postgres,
    configWith: load,
    sql,
    async drop() {
      await postgres.end();
      if (options.delta === true) await sql(`DROP SCHEMA ${name} CASCADE`);
      await warehouse?.close();
      await dropTopics(kafka, name);
      await asAdministrator(`DROP DATABASE ${name} WITH (FORCE)`);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function configOf(name: string, postgresUrl: string, options: SiteOptions): object {
  const { kafka, registry, databricks } = testStack();
  const own: Record<string, object> = {
    kafka,
    registry: { url: options.registryUrl ?? registry.url },
    postgres: { url: postgresUrl, id: name },
    databricks,
    topics: { positions: `${name}.positions` },
    // Recovery within a test's patience.
    delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 200, lockTimeoutMs: 300 },
    polling: { maxMs: 50 },
    http: { port: 0 },
  };
  const sections = Object.entries(options.more ?? {}).map(([section, fields]) => [
    section,
    { ...own[section], ...fields },
  ]);
  return {
    ...own,
    ...Object.fromEntries(sections),
    tables: [
      {
        name: 'employees',
        topic: `${name}_changes`,
        partitions: options.partitions ?? 1,
        key: 'emp_id',
        columns: { emp_id: 'bigint', name: 'text', salary: 'numeric(12,2)' },
        delta: { table: `${name}.employees` },
      },
    ],
  };
}

/** What `deltaferry setup` does, but for the Delta table, which only some sites have; answers the schema's id. */
async function setUp(
  { registry: { url }, topics: { positions } }: Config,
  table: TableConfig,
  { kafka, postgres }: { kafka: Kafka; postgres: pg.Pool },
): Promise<number> {
  const registry = createSchemaRegistry({ url });
  const topics = topicsAdmin(kafka);
  try {
    const { outcome, plan } = await setup(
      {
        positionsTopic: positions,
        tables: [
          {
            mapping: mappingOf(table),
            topic: table.topic,
            partitions: table.partitions,
            historyTable: table.postgres.table,
          },
        ],
      },
      {
        control: { pending: () => pendingMigrations(postgres), migrate: () => migrate(postgres) },
        topics,
        subjects: registry,
        histories: createHistoryTables(postgres),
        deltas: createDeltaTables({ query: () => Promise.reject(new Error('no Delta table was asked for')) }),
      },
    );
    if (outcome !== 'done') throw new Error(`the site was not set up: ${JSON.stringify(plan)}`);
    return (await registry.latestId(subjectOf(table.topic)))!;
  } finally {
    registry.close();
    await topics.close();
  }
}

async function dropTopics(kafka: Kafka, prefix: string): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const own = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix));
    if (own.length > 0) await admin.deleteTopics({ topics: own });
  } finally {
    await admin.disconnect();
  }
}

async function asAdministrator(statement: string): Promise<void> {
  const server = new pg.Client({ connectionString: testStack().postgres.url });
  await server.connect();
  try {
    await server.query(statement);
  } finally {
    await server.end();
  }
}
