import { quoteQualified } from '../connections/identifiers.ts';
import { openPool } from '../connections/postgres/pool.ts';
import type { Config } from '../service/config/schema.ts';
import { postgresOptions } from '../service/connect.ts';
import type { CurrentEmployee, ReplayRow } from './truth.ts';

/** The demo's table as an application uses it: it knows nothing of Deltaferry. */
export interface EmployeesTable {
  /** One transaction: ends the current versions that change, and opens the new ones. */
  write(rows: readonly ReplayRow[]): Promise<void>;
  current(): Promise<CurrentEmployee[]>;
  close(): Promise<void>;
}

const GIVEN =
  'jsonb_to_recordset($1::jsonb) AS given(op text, "empId" bigint, name text, salary numeric(12,2))';

export function openEmployees(config: Config): EmployeesTable {
  const pool = openPool({
    ...postgresOptions(config),
    applicationName: 'deltaferry demo',
    maxConnections: 1,
  });
  const table = quoteQualified(config.tables[0]!.postgres.table);
  const end = `
    UPDATE ${table} e SET off_date = now(), is_active = false FROM ${GIVEN}
    WHERE e.emp_id = given."empId" AND e.off_date IS NULL
      AND (given.op = 'delete' OR (e.name, e.salary) IS DISTINCT FROM (given.name, given.salary))`;
  const open = `
    INSERT INTO ${table} (emp_id, name, salary, is_active, on_date)
    SELECT given."empId", given.name, given.salary, true, now() FROM ${GIVEN}
    WHERE given.op = 'upsert'
      AND NOT EXISTS (SELECT FROM ${table} e WHERE e.emp_id = given."empId" AND e.off_date IS NULL)`;
  return {
    async write(rows) {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        await client.query(end, [JSON.stringify(rows)]);
        await client.query(open, [JSON.stringify(rows)]);
        await client.query('COMMIT');
      } finally {
        client.release();
      }
    },
    async current() {
      const { rows } = await pool.query<{ emp_id: string; name: string; salary: string }>(
        `SELECT emp_id, name, salary FROM ${table} WHERE off_date IS NULL`,
      );
      return rows.map(({ emp_id, name, salary }) => ({ empId: Number(emp_id), name, salary }));
    },
    close: () => pool.end(),
  };
}
