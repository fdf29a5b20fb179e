import { randomBytes } from 'node:crypto';
import { openDatabricks, type Databricks } from '../../src/connections/databricks/client.ts';
import { createDeltaTables } from '../../src/connections/databricks/delta-table.ts';
import { topicsAdmin } from '../../src/connections/kafka/admin.ts';
import { openKafka } from '../../src/connections/kafka/client.ts';
import { createCapturedTables } from '../../src/connections/postgres/captured-table.ts';
import { createHistoryTables } from '../../src/connections/postgres/history-table.ts';
import { migrate, pendingMigrations } from '../../src/connections/postgres/migrate.ts';
import { createSchemaRegistry, type SchemaRegistry } from '../../src/connections/registry/schemas.ts';
import type { SetupPorts } from '../../src/setup/ports.ts';
import type { SetupRequest } from '../../src/setup/request.ts';
import { testStack } from '../support/stack.ts';
import { employees } from './existing-things.ts';
import { ownDatabase, type OwnDatabase } from './own-database.ts';

/** A database, a Delta schema and a prefix for topics and subjects, used by one test alone. */
export interface Site {
  readonly name: string;
  readonly database: OwnDatabase;
  readonly registry: SchemaRegistry;
  readonly ports: SetupPorts;
  readonly request: SetupRequest;
  sql(statement: string): Promise<void>;
  /** Creates the Delta table that the request names. */
  createDeltaTable(): Promise<void>;
  drop(): Promise<void>;
}

export async function openSite(): Promise<Site> {
  const stack = testStack();
  const name = `setup_${randomBytes(4).toString('hex')}`;
  const database = await ownDatabase(name);
  const kafka = openKafka({ brokers: stack.kafka.brokers, clientId: name });
  const topics = topicsAdmin(kafka);
  const registry = createSchemaRegistry(stack.registry);
  const databricks: Databricks = openDatabricks(stack.databricks);
  const sql = async (statement: string) =>
    void (await databricks.query({ sql: statement, doing: 'preparing a test' }));
  await sql(`CREATE SCHEMA ${name}`);
  return {
    name,
    database,
    registry,
    ports: {
      control: { pending: () => pendingMigrations(database.pool), migrate: () => migrate(database.pool) },
      topics,
      subjects: registry,
      histories: createHistoryTables(database.pool),
      deltas: createDeltaTables(databricks),
      captures: createCapturedTables(database.pool),
    },
    request: {
      positionsTopic: `${name}.positions`,
      tables: [
        {
          mapping: employees,
          topic: `${name}_changes`,
          loadTopic: `${name}_backfill`,
          partitions: 2,
          historyTable: 'public.employees',
          deltaTable: `${name}.employees`,
        },
      ],
    },
    sql,
    createDeltaTable: () =>
      sql(
        `CREATE TABLE ${name}.employees (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA ` +
          'TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableInCommitTimestamps = true)',
      ),
    async drop() {
      const admin = kafka.admin();
      await admin.connect();
      const own = (await admin.listTopics()).filter((topic) => topic.startsWith(name));
      if (own.length > 0) await admin.deleteTopics({ topics: own });
      await admin.disconnect();
      await topics.close();
      registry.close();
      await sql(`DROP SCHEMA ${name} CASCADE`);
      await databricks.close();
      await database.drop();
    },
  };
}
