import type { ReplayRow } from './truth.ts';

/** The statements the replay needs run; parameters are named. */
export interface Warehouse {
  query(sql: string, parameters?: Readonly<Record<string, string | number>>): Promise<unknown>;
}

const ROWS_PER_INSERT = 5000;

/** Creates the table that is kept in step and a table with everything that will be replayed onto it. */
export async function prepareReplay(
  warehouse: Warehouse,
  tables: { readonly target: string; readonly replay: string },
  commits: readonly (readonly ReplayRow[])[],
): Promise<void> {
  await warehouse.query(
    `CREATE TABLE ${tables.target} (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA
     TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableInCommitTimestamps = true)`,
  );
  await warehouse.query(
    `CREATE TABLE ${tables.replay} (k INT, op STRING, emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA`,
  );
  const rows = commits.flatMap((commit, index) =>
    commit.map((row) => ({
      k: index + 1,
      op: row.op,
      emp_id: row.empId,
      ...(row.op === 'upsert' ? { name: row.name, salary: row.salary } : {}),
    })),
  );
  for (let at = 0; at < rows.length; at += ROWS_PER_INSERT)
    await warehouse.query(
      `INSERT INTO ${tables.replay}
       SELECT r.k, r.op, r.emp_id, r.name, CAST(r.salary AS DECIMAL(12,2))
       FROM (SELECT explode(from_json(:rows, 'array<struct<k:int,op:string,emp_id:bigint,name:string,salary:string>>')) AS r)`,
      { rows: JSON.stringify(rows.slice(at, at + ROWS_PER_INSERT)) },
    );
}

/** Makes commit `k` of the history as one MERGE, the way a nightly job would: unchanged rows are rewritten too. */
export async function replayCommit(
  warehouse: Warehouse,
  tables: { readonly target: string; readonly replay: string },
  k: number,
): Promise<void> {
  await warehouse.query(
    `MERGE INTO ${tables.target} t USING (SELECT * FROM ${tables.replay} WHERE k = :k) s ON t.emp_id = s.emp_id
     WHEN MATCHED AND s.op = 'delete' THEN DELETE
     WHEN MATCHED THEN UPDATE SET name = s.name, salary = s.salary
     WHEN NOT MATCHED AND s.op = 'upsert' THEN INSERT (emp_id, name, salary) VALUES (s.emp_id, s.name, s.salary)`,
    { k },
  );
}
