import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { createChangeDecoder, changeSchema } from '../../src/change/avro.ts';
import type { Op } from '../../src/change/change.ts';
import { translatePostgres } from '../../src/connections/postgres/errors.ts';
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

/**
 * People and jobs that write the two tables of a site and know nothing of the service. Where an engine goes
 * away under them they find out whether their write has landed, and do it again if it has not.
 */
export interface BothSides {
  /** What both tables must hold in the end, and how many changes were made where. */
  readonly expected: State;
  readonly made: Readonly<Record<'delta' | 'postgres', number>>;
  /** One commit. */
  inDelta: Writer;
  /** One transaction of SCD Type 2 writes: the old version is ended, the new one begins. */
  inPostgres: Writer;
  /** So many current rows in Postgres from before the capture: no change tells of them. */
  older(rows: number): Promise<void>;
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

/** Engines may be restarted under them. */
const INSIST_MS = 240_000;
const AGAIN_MS = 200;
/** Of the rows that differ. */
const MOST_SHOWN = 12;

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

  /**
   * A job of somebody's: where a commit of another writer came in between it is done again, as jobs are; and where the
   * connection broke, unless the table says that it is done.
   */
  async function job(
    sql: string,
    params: Record<string, string>,
    isDone: () => Promise<boolean>,
  ): Promise<void> {
    await insistently(async () => {
      try {
        await warehouse.query({ doing: 'a job', sql, params });
      } catch (error) {
        const conflict = error instanceof DeltaferryError && error.code === 'DELTA_CONFLICT';
        if (conflict || !isTransient(error)) throw error;
        if (!(await insistently(isDone))) throw error;
      }
    });
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
        async () => {
          const there = await statesInDelta(rows.map(({ id }) => id));
          return rows.every(({ id, name, salary }) => there.get(id) === `${name} ${salary}`);
        },
      );
      note('delta', rows);
    },
    async remove(...ids) {
      await job(
        `DELETE FROM ${deltaTable} WHERE array_contains(from_json(:ids, 'array<bigint>'), emp_id)`,
        { ids: JSON.stringify(ids) },
        async () => (await statesInDelta(ids)).size === 0,
      );
      note('delta', [], ids);
    },
  };

  async function statesInDelta(ids: readonly number[]): Promise<State> {
    const rows = await warehouse.query({
      doing: 'looking',
      sql: `SELECT emp_id, name, CAST(salary AS STRING) AS salary FROM ${deltaTable}
            WHERE array_contains(from_json(:ids, 'array<bigint>'), emp_id)`,
      params: { ids: JSON.stringify(ids) },
    });
    return new Map(
      rows.map(({ emp_id, name, salary }) => [Number(emp_id), `${String(name)} ${String(salary)}`]),
    );
  }

  /** Where the connection broke it is done again, unless the server says that the transaction has committed. */
  async function inTransaction(
    work: (query: (sql: string, params: unknown[]) => Promise<unknown>) => Promise<void>,
  ): Promise<void> {
    await insistently(async () => {
      const client = await pool.connect();
      let xid: string | undefined;
      try {
        await client.query('BEGIN');
        const { rows } = await client.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
        xid = rows[0]!.xid;
        await work((sql, params) => client.query(sql, params));
        await client.query('COMMIT');
        client.release();
      } catch (error) {
        client.release(true);
        if (xid === undefined || !isTransient(error) || !(await insistently(() => isCommitted(xid!))))
          throw error;
      }
    });
  }

  async function isCommitted(xid: string): Promise<boolean> {
    return until('the transaction to be decided', async () => {
      const { rows } = await pool.query<{ status: string }>('SELECT pg_xact_status($1::xid8) AS status', [
        xid,
      ]);
      const status = rows[0]?.status;
      return status === 'in progress' ? null : { committed: status === 'committed' };
    }).then(({ committed }) => committed);
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

  const text = (row: Readonly<Record<string, unknown>>) =>
    `${String(row['emp_id'])} ${String(row['name'])} ${String(row['salary'])}`;

  async function foundInDelta(): Promise<string[]> {
    const rows = await warehouse.query({
      doing: 'looking',
      sql: `SELECT emp_id, name, CAST(salary AS STRING) AS salary FROM ${deltaTable}`,
    });
    return rows.map(text).sort();
  }

  async function foundInPostgres(): Promise<string[]> {
    const { rows } = await pool.query<{ emp_id: string; name: string; salary: string }>(
      'SELECT emp_id, name, salary FROM public.employees WHERE off_date IS NULL',
    );
    return rows.map(text).sort();
  }

  /** Changes with every merge: a look at Delta before it does would show the same as the last. */
  async function merges(): Promise<string> {
    const { rows } = await pool.query<{ text: string }>(
      `SELECT string_agg(o.*::text, ' ' ORDER BY partition) AS text FROM deltaferry.offsets o
       WHERE group_id LIKE '%delta-merge%'`,
    );
    return String(rows[0]?.text);
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
    async older(rows) {
      await pool.query(
        `BEGIN; SET LOCAL deltaferry.origin = 'older';
         INSERT INTO public.employees (emp_id, name, salary, is_active, on_date)
         SELECT n, 'Employee ' || n, n % 1000, true, '2020-01-01Z' FROM generate_series(0, ${rows - 1}) AS n; COMMIT`,
      );
      for (let id = 0; id < rows; id++) expected.set(id, `Employee ${id} ${id % 1000}.00`);
    },
    async equal(timeoutMs = 60_000) {
      const want = Array.from(expected, ([id, row]) => `${id} ${row}`).sort();
      const same = (rows: readonly string[]) =>
        rows.length === want.length && rows.every((row, n) => row === want[n]);
      let looked: string | undefined;
      await until(
        'both sides to be equal',
        async () => {
          if (!same(await foundInPostgres())) return false;
          const now = await merges();
          if (now === looked) return false;
          if (!same(await foundInDelta())) {
            looked = now;
            return false;
          }
          return same(await foundInPostgres());
        },
        { timeoutMs, everyMs: 25 },
      ).catch(async () => {
        const wanted = new Set(want);
        const differ = (rows: readonly string[]): string => {
          const found = new Set(rows);
          return [
            ...want.filter((row) => !found.has(row)).map((row) => `not there: ${row}`),
            ...rows.filter((row) => !wanted.has(row)).map((row) => `not expected: ${row}`),
          ]
            .slice(0, MOST_SHOWN)
            .join(', ');
        };
        assert.deepEqual(
          { delta: differ(await foundInDelta()), postgres: differ(await foundInPostgres()) },
          { delta: '', postgres: '' },
        );
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

function isTransient(error: unknown): boolean {
  return translatePostgres(error, 'writing').kind === 'transient';
}

/** Again and again while an engine does not answer, or others are in the way. */
async function insistently<T>(work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + INSIST_MS;
  for (;;)
    try {
      return await work();
    } catch (error) {
      if (!isTransient(error) || performance.now() > deadline) throw error;
      const conflict = error instanceof DeltaferryError && error.code === 'DELTA_CONFLICT';
      if (!conflict) await delay(AGAIN_MS);
    }
}
