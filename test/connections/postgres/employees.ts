import type { Pool } from 'pg';
import type { Change, Micros } from '../../../src/change/change.ts';
import type { TableMapping } from '../../../src/change/table.ts';
import {
  createHistorySink,
  type HistorySinkOptions,
} from '../../../src/connections/postgres/history-sink.ts';
import type { HistorySink } from '../../../src/ports/history-sink.ts';
import type { TrueVersion } from '../../scd/oracle.ts';

export const EMPLOYEES: TableMapping = {
  name: 'employees',
  key: ['emp_id'],
  columns: [
    { name: 'emp_id', type: { name: 'bigint' } },
    { name: 'name', type: { name: 'text' } },
    { name: 'salary', type: { name: 'numeric', precision: 12, scale: 2 } },
  ],
};

/** Event times of the tests are small numbers; on the wall they are microseconds after this. */
export const EPOCH = Date.UTC(2025, 0, 1) * 1000;

export async function createEmployees(pool: Pool, table: string): Promise<void> {
  await pool.query(
    `CREATE TABLE ${table} (emp_id bigint NOT NULL, name text, salary numeric(12,2), is_active boolean NOT NULL,
       on_date timestamptz NOT NULL, off_date timestamptz, PRIMARY KEY (emp_id, on_date))`,
  );
  await pool.query(`CREATE UNIQUE INDEX ON ${table} (emp_id) WHERE off_date IS NULL`);
}

/** Image null: a delete. */
export function change(emp: number, ts: Micros, image: string | null, op?: Change['op']): Change {
  const row = [emp, image, '10.50'];
  return {
    op: op ?? (image === null ? 'delete' : 'update'),
    key: String(emp),
    before: image === null ? row : null,
    after: image === null ? null : row,
    origin: 'delta',
    table: 'employees',
    position: 1,
    ts: typeof ts === 'bigint' ? ts : ts + EPOCH,
    tx: null,
    load: null,
  };
}

/** A sink on partition 0 of a topic of its own, with the offsets kept in step. */
export interface Applier {
  readonly sink: HistorySink;
  apply(...changes: Change[]): ReturnType<HistorySink['apply']>;
}

export async function openApplier(
  pool: Pool,
  historyTable: string,
  more: Partial<HistorySinkOptions> = {},
): Promise<Applier> {
  const sink = createHistorySink({
    pool,
    group: 'employees-postgres',
    topic: `changes of ${historyTable} ${more.path ?? ''}`,
    table: EMPLOYEES,
    historyTable,
    origin: 'delta',
    ...more,
  });
  const next = async (): Promise<bigint> => (await sink.claim([0], () => 0n)).get(0) ?? 0n;
  return {
    sink,
    async apply(...changes) {
      const expected = await next();
      return await sink.apply({ partition: 0, expected, next: expected + BigInt(changes.length), changes });
    },
  };
}

export interface StoredRow extends TrueVersion<string | null> {
  readonly active: boolean;
}

/** Versions per key in order of time, read on a connection of its own. */
export async function storedVersions(pool: Pool, table: string): Promise<Map<number, StoredRow[]>> {
  const micros = (column: string): string =>
    `((extract(epoch FROM ${column}) * 1000000)::bigint - ${EPOCH})::float8`;
  const rows = await pool.query<StoredRow & { emp: number }>(
    `SELECT emp_id::int AS emp, name AS image, is_active AS active, ${micros('on_date')} AS "from", ${micros('off_date')} AS "to"
     FROM ${table} ORDER BY emp_id, on_date`,
  );
  const found = new Map<number, StoredRow[]>();
  for (const { emp, ...row } of rows.rows) found.set(emp, [...(found.get(emp) ?? []), row]);
  return found;
}

/** "A[1,3) B[4,)" of one employee. */
export async function shown(pool: Pool, table: string, emp: number): Promise<string> {
  const versions = (await storedVersions(pool, table)).get(emp) ?? [];
  return versions.map(({ image, from, to }) => `${image}[${from},${to ?? ''})`).join(' ');
}
