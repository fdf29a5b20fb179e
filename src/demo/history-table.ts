import { openPool } from '../connections/postgres/pool.ts';
import { quoteQualified } from '../connections/identifiers.ts';
import type { Config } from '../service/config/schema.ts';
import { postgresOptions } from '../service/connect.ts';
import type { HistoryVersion } from './truth.ts';

/** The whole history of the demo's table, ordered by employee, then time, over a connection of its own. */
export async function readHistoryTable(config: Config): Promise<HistoryVersion[]> {
  const pool = openPool({ ...postgresOptions(config), applicationName: 'deltaferry demo' });
  try {
    const { rows } = await pool.query<
      Record<'emp_id' | 'name' | 'salary' | 'from' | 'to', string> & { is_active: boolean }
    >(
      `SELECT emp_id, name, salary, is_active,
              (extract(epoch FROM on_date) * 1000000)::bigint AS "from",
              (extract(epoch FROM off_date) * 1000000)::bigint AS "to"
       FROM ${quoteQualified(config.tables[0]!.postgres.table)} ORDER BY emp_id, on_date`,
    );
    return rows.map((row) => ({
      empId: Number(row.emp_id),
      name: row.name,
      salary: row.salary,
      isActive: row.is_active,
      from: Number(row.from),
      to: row.to === null ? null : Number(row.to),
    }));
  } finally {
    await pool.end();
  }
}
