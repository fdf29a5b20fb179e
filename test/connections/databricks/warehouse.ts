import { randomBytes } from 'node:crypto';
import {
  openDatabricks,
  type Databricks,
  type DatabricksRow,
} from '../../../src/connections/databricks/client.ts';
import { testStack } from '../../support/stack.ts';

/** A schema of one test file's own in the run's warehouse. */
export interface TestWarehouse {
  readonly client: Databricks;
  readonly schema: string;
  sql(text: string): Promise<readonly DatabricksRow[]>;
  /** A new name in the schema: `schema.prefix_1`. */
  name(prefix?: string): string;
  /** Creates a table that records its changes; answers its name. */
  table(columns: string, properties?: string): Promise<string>;
  close(): Promise<void>;
}

export async function openTestWarehouse(): Promise<TestWarehouse> {
  const client = openDatabricks(testStack().databricks);
  const schema = `feed_${randomBytes(4).toString('hex')}`;
  let names = 0;
  const sql = (text: string): Promise<readonly DatabricksRow[]> =>
    client.query({ sql: text, doing: `running ${text.slice(0, 60)}` });
  const name = (prefix = 't'): string => `${schema}.${prefix}_${++names}`;
  await sql(`CREATE SCHEMA ${schema}`);
  return {
    client,
    schema,
    sql,
    name,
    async table(columns, properties = '') {
      const table = name();
      await sql(
        `CREATE TABLE ${table} (${columns}) USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true${properties})`,
      );
      return table;
    },
    async close() {
      await sql(`DROP SCHEMA IF EXISTS ${schema} CASCADE`).finally(() => client.close());
    },
  };
}

export const EMPLOYEE_COLUMNS = 'emp_id BIGINT, name STRING, salary DECIMAL(12,2)';
