import { randomBytes } from 'node:crypto';
import type { Databricks } from '../../../src/connections/databricks/client.ts';
import { until } from '../../support/until.ts';
import { MERGE } from './merge-sinks.ts';
import type { TestWarehouse } from './warehouse.ts';

export interface SlowMerges {
  /** Its first merge takes some seconds in the warehouse, after its source has been looked at. */
  readonly client: Databricks;
  /** Resolves once that merge is under way: its snapshots are taken, and nothing is committed. */
  running(): Promise<void>;
}

const SLEEP_MS = 6_000;

/** A merge whose source sleeps while it is read, and says so first. */
export function slowMerges(client: Databricks, warehouse: TestWarehouse): SlowMerges {
  const property = `deltaferry.test.${randomBytes(4).toString('hex')}`;
  const said = `java_method('java.lang.System', 'setProperty', '${property}', 'running')`;
  const sleeps = `java_method('java.lang.Thread', 'sleep', ${SLEEP_MS}L)`;
  let first = true;
  return {
    client: {
      ...client,
      async query(statement) {
        if (!first || !MERGE.test(statement.sql)) return client.query(statement);
        first = false;
        const sql = statement.sql.replace(
          'j.d IS NOT NULL AS gone',
          `length(concat(${said}, ${sleeps})) > 0 AND j.d IS NOT NULL AS gone`,
        );
        if (sql === statement.sql) throw new Error('this MERGE cannot be slowed');
        return client.query({ ...statement, sql });
      },
    },
    async running() {
      await until('the merge runs', async () => {
        const [row] = await warehouse.sql(
          `SELECT java_method('java.lang.System', 'getProperty', '${property}') AS said`,
        );
        return row?.['said'] === 'running';
      });
    },
  };
}
