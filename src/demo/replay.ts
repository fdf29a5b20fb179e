import type { ReplayRow } from './truth.ts';

/** The statements that the replay needs run; parameters are named. */
export interface Warehouse {
  query(statement: {
    readonly doing: string;
    readonly sql: string;
    readonly params?: Readonly<Record<string, string | number>>;
  }): Promise<readonly Readonly<Record<string, unknown>>[]>;
}

export interface ReplayTables {
  /** The table that is kept in step. */
  readonly target: string;
  /** Everything that is to happen to it. */
  readonly replay: string;
}

const ROWS_PER_INSERT = 5000;

/** Creates the table that is kept in step and a table with everything that will be replayed onto it. */
export async function prepareReplay(
  warehouse: Warehouse,
  tables: ReplayTables,
  commits: readonly (readonly ReplayRow[])[],
): Promise<void> {
  await warehouse.query({
    doing: 'creating the table',
    sql: `CREATE TABLE ${tables.target} (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA
     TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableInCommitTimestamps = true)`,
  });
  await warehouse.query({
    doing: 'creating the replay table',
    sql: `CREATE TABLE ${tables.replay} (k INT, op STRING, emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA`,
  });
  const rows = commits.flatMap((commit, index) =>
    commit.map((row) => ({
      k: index + 1,
      op: row.op,
      emp_id: row.empId,
      ...(row.op === 'upsert' ? { name: row.name, salary: row.salary } : {}),
    })),
  );
  for (let at = 0; at < rows.length; at += ROWS_PER_INSERT)
    await warehouse.query({
      doing: 'staging the history',
      sql: `INSERT INTO ${tables.replay}
       SELECT r.k, r.op, r.emp_id, r.name, CAST(r.salary AS DECIMAL(12,2))
       FROM (SELECT explode(from_json(:rows, 'array<struct<k:int,op:string,emp_id:bigint,name:string,salary:string>>')) AS r)`,
      params: { rows: JSON.stringify(rows.slice(at, at + ROWS_PER_INSERT)) },
    });
}

/** Makes commit `k` of the history as one MERGE, the way a nightly job would: unchanged rows are rewritten too. */
export async function replayCommit(warehouse: Warehouse, tables: ReplayTables, k: number): Promise<void> {
  await warehouse.query({
    doing: `replaying commit ${k}`,
    sql: `MERGE INTO ${tables.target} t USING (SELECT * FROM ${tables.replay} WHERE k = :k) s ON t.emp_id = s.emp_id
     WHEN MATCHED AND s.op = 'delete' THEN DELETE
     WHEN MATCHED THEN UPDATE SET name = s.name, salary = s.salary
     WHEN NOT MATCHED AND s.op = 'upsert' THEN INSERT (emp_id, name, salary) VALUES (s.emp_id, s.name, s.salary)`,
    params: { k },
  });
}

/** When each of the commits was made, microseconds; version 0 created the table. */
export async function commitTimes(warehouse: Warehouse, table: string, commits: number): Promise<number[]> {
  const rows = await warehouse.query({
    doing: 'reading the commit times',
    sql: `DESCRIBE HISTORY ${table}`,
  });
  // In-commit timestamps are whole milliseconds, which the driver's Date holds exactly.
  const times = new Map(
    rows.map(({ version, timestamp }) => [Number(version), (timestamp as Date).getTime() * 1000]),
  );
  return Array.from({ length: commits }, (_, k) => times.get(k + 1) ?? Number.NaN);
}
