import assert from 'node:assert/strict';
import { createChangeDecoder, changeSchema } from '../../src/change/avro.ts';
import type { Op } from '../../src/change/change.ts';
import { DeltaferryError } from '../../src/errors.ts';
import type { Site } from './site.ts';
import { committedRecords } from './topic-check.ts';
import { until } from './until.ts';

/** An employee as text, `name salary`; absent: there is none. */
export type State = ReadonlyMap<number, string>;

export interface Employee {
  readonly id: number;
  readonly name: string;
  readonly salary: string;
}

/** People and jobs that write the two tables of a site and know nothing of the service. */
export interface BothSides {
  /** What both tables must hold in the end, and how many changes were made where. */
  readonly expected: State;
  readonly made: Readonly<Record<'delta' | 'postgres', number>>;
  /** One commit. */
  inDelta: Writer;
  /** One transaction of SCD Type 2 writes: the old version is ended, the new one begins. */
  inPostgres: Writer;
  /** Waits until both tables hold what is expected; fails with the differences. */
  equal(timeoutMs?: number): Promise<void>;
  /** Every record on the topic, oldest first within a key. */
  onTopic(): Promise<TopicChange[]>;
  /** Fails unless each change made is exactly one record on the topic, of its own origin. */
  assertCrossedOnce(): Promise<void>;
}

export interface Writer {
  /** Rows that are there are updated, others inserted. */
  upsert(...rows: Employee[]): Promise<void>;
  remove(...ids: number[]): Promise<void>;
}

export interface TopicChange {
  readonly origin: string;
  readonly op: Op;
  readonly key: string;
  readonly after: string | null;
}

export function bothSides(site: Site): BothSides {
  const { pool, warehouse, deltaTable } = site;
  const expected = new Map<number, string>();
  const made = { delta: 0, postgres: 0 };

  function note(where: 'delta' | 'postgres', rows: readonly Employee[], gone: readonly number[] = []): void {
    for (const { id, name, salary } of rows) {
      if (expected.get(id) !== `${name} ${salary}`) made[where] += 1;
      expected.set(id, `${name} ${salary}`);
    }
    for (const id of gone) if (expected.delete(id)) made[where] += 1;
  }

  /** A job of somebody's: where a commit of another writer came in between it is done again, as jobs are. */
  async function job(sql: string, params: Record<string, string>): Promise<void> {
    for (;;)
      try {
        await warehouse.query({ doing: 'a job', sql, params });
        return;
      } catch (error) {
        if (!(error instanceof DeltaferryError && error.code === 'DELTA_CONFLICT')) throw error;
      }
  }

  const inDelta: Writer = {
    async upsert(...rows) {
      await job(
        `MERGE INTO ${deltaTable} t USING (
                SELECT r.id, r.name, CAST(r.salary AS DECIMAL(12,2)) AS salary
                FROM (SELECT explode(from_json(:rows, 'array<struct<id:bigint,name:string,salary:string>>')) AS r)) s
              ON t.emp_id = s.id
              WHEN MATCHED THEN UPDATE SET name = s.name, salary = s.salary
              WHEN NOT MATCHED THEN INSERT (emp_id, name, salary) VALUES (s.id, s.name, s.salary)`,
        { rows: JSON.stringify(rows) },
      );
      note('delta', rows);
    },
    async remove(...ids) {
      await job(`DELETE FROM ${deltaTable} WHERE array_contains(from_json(:ids, 'array<bigint>'), emp_id)`, {
        ids: JSON.stringify(ids),
      });
      note('delta', [], ids);
    },
  };

  async function inTransaction(
    work: (query: (sql: string, params: unknown[]) => Promise<unknown>) => Promise<void>,
  ): Promise<void> {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await work((sql, params) => client.query(sql, params));
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  }

  const inPostgres: Writer = {
    async upsert(...rows) {
      const ids = rows.map(({ id }) => id);
      await inTransaction(async (query) => {
        await query(
          'UPDATE public.employees SET off_date = now(), is_active = false WHERE emp_id = ANY ($1::bigint[]) AND off_date IS NULL',
          [ids],
        );
        await query(
          `INSERT INTO public.employees (emp_id, name, salary, is_active, on_date)
           SELECT id, name, salary, true, now() FROM jsonb_to_recordset($1::jsonb) AS r(id bigint, name text, salary numeric)`,
          [JSON.stringify(rows)],
        );
      });
      note('postgres', rows);
    },
    async remove(...ids) {
      await inTransaction(async (query) => {
        await query(
          'UPDATE public.employees SET off_date = now(), is_active = false WHERE emp_id = ANY ($1::bigint[]) AND off_date IS NULL',
          [ids],
        );
      });
      note('postgres', [], ids);
    },
  };

  async function found(): Promise<Record<'delta' | 'postgres', string[]>> {
    const delta = await warehouse.query({
      doing: 'looking',
      sql: `SELECT emp_id, name, CAST(salary AS STRING) AS salary FROM ${deltaTable}`,
    });
    const { rows } = await pool.query<{ emp_id: string; name: string; salary: string }>(
      'SELECT emp_id, name, salary FROM public.employees WHERE off_date IS NULL',
    );
    const text = (row: Readonly<Record<string, unknown>>) =>
      `${String(row['emp_id'])} ${String(row['name'])} ${String(row['salary'])}`;
    return { delta: delta.map(text).sort(), postgres: rows.map(text).sort() };
  }

  async function onTopic(): Promise<TopicChange[]> {
    const decoder = createChangeDecoder(site.mapping, changeSchema(site.mapping));
    return [...(await committedRecords(site.kafka, site.topic)).values()].flat().map(({ key, value }) => {
      const { origin, op, key: text, after } = decoder.decode(value!, Buffer.from(key!).toString());
      return {
        origin,
        op,
        key: text,
        after: after === null ? null : `${String(after[1])} ${String(after[2])}`,
      };
    });
  }

  return {
    expected,
    made,
    inDelta,
    inPostgres,
    async equal(timeoutMs = 60_000) {
      const want = Array.from(expected, ([id, row]) => `${id} ${row}`).sort();
      const same = (rows: readonly string[]) =>
        rows.length === want.length && rows.every((row, n) => row === want[n]);
      await until(
        'both sides to be equal',
        async () => {
          const { delta, postgres } = await found();
          return same(delta) && same(postgres);
        },
        { timeoutMs, everyMs: 100 },
      ).catch(async () => {
        assert.deepEqual(await found(), { delta: want, postgres: want });
      });
    },
    onTopic,
    async assertCrossedOnce() {
      const records = await onTopic();
      const of = (origin: string) => records.filter((record) => record.origin === origin).length;
      assert.deepEqual({ delta: of('delta'), postgres: of('postgres') }, made);
      assert.equal(records.length, made.delta + made.postgres, 'records of no known origin');
    },
  };
}
