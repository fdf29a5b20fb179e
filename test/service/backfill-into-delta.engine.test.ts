import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { loadConfig } from '../../src/service/config/load.ts';
import { setupTables } from '../../src/service/setup.ts';
import { bothSides, type BothSides } from '../support/both-sides.ts';
import { AS_DATABRICKS_CREATES_IT, vectorsAdded } from '../support/databricks-table.ts';
import { startBackfill, textOf, type BackfillRun } from '../support/backfill-run.ts';
import { committedKeys } from '../support/load-records.ts';
import { QUICK, startService, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

const ROWS = 5000;
/** Beside it there is an ended version of some, and one whose end is written as infinity. */
const INFINITE = ROWS;

describe('loads from Postgres into Delta', () => {
  const later = undoing();
  let site: Site;
  let sides: BothSides;
  let expected: Map<number, string>;
  let service: RunningService | undefined;

  before(async () => {
    const settings = { ...QUICK, merging: { minAgeMs: 50, maxAgeMs: 100 } };
    const deltaTable = AS_DATABRICKS_CREATES_IT;
    site = later(await openSite({ prefix: 'into_delta', direction: 'both', settings, deltaTable }), (made) =>
      made.drop(),
    );
    sides = bothSides(site);
    expected = sides.expected as Map<number, string>;
    await older(
      `INSERT INTO public.employees (emp_id, name, salary, is_active, on_date, off_date)
       SELECT n, E'Employee \\t' || n, n % 1000, true, '2020-01-01Z', CASE WHEN n = ${INFINITE} THEN 'infinity'::timestamptz END
       FROM generate_series(0, ${INFINITE}) AS n`,
      `INSERT INTO public.employees (emp_id, name, salary, is_active, on_date, off_date)
       SELECT n, 'of old', 1, false, '2019-01-01Z', '2020-01-01Z' FROM generate_series(0, 99) AS n`,
      `INSERT INTO public.employees (emp_id, name, salary, is_active, on_date, off_date)
       VALUES (-1, 'left', 1, false, '2019-01-01Z', '2020-01-01Z')`,
    );
    for (let id = 0; id <= INFINITE; id++) expected.set(id, `Employee \t${id} ${id % 1000}.00`);
  });

  /** Changes as they were made before the table was captured: no log tells of them. */
  async function older(...statements: readonly string[]): Promise<void> {
    await site.pool.query(`BEGIN; SET LOCAL deltaferry.origin = 'older'; ${statements.join('; ')}; COMMIT`);
  }

  function load(...more: string[]): BackfillRun {
    return later(startBackfill([site.name, '--config', site.configFile, ...more]), (made) => made.kill());
  }

  async function inDelta(): Promise<string[]> {
    const rows = await site.warehouse.query({
      doing: 'looking',
      sql: `SELECT concat_ws(' ', emp_id, name, salary) AS row FROM ${site.deltaTable}`,
    });
    return rows.map(({ row }) => String(row)).sort();
  }

  const expectedRows = (): string[] => Array.from(expected, ([id, row]) => `${id} ${row}`).sort();

  async function phase(): Promise<string | undefined> {
    const { rows } = await site.pool.query<{ phase: string }>(
      'SELECT phase FROM deltaferry.loads ORDER BY started_at DESC LIMIT 1',
    );
    return rows[0]?.phase;
  }

  async function held(): Promise<number> {
    const { rows } = await site.pool.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM deltaferry.offsets WHERE held_by IS NOT NULL`,
    );
    return rows[0]!.n;
  }

  it('bring every current row once into an empty table, and no other', { timeout: 300_000 }, async () => {
    const run = load('--from', 'postgres', '--piece', '700', '--json');
    assert.equal(await run.ended(), 0, textOf(run));
    const result = JSON.parse(run.printed.join('\n')) as Record<string, unknown>;
    assert.deepEqual([result['rows'], result['rejected'], result['reconciled']], [ROWS + 1, 0, null]);
    assert.deepEqual(await inDelta(), expectedRows());
    assert.equal((await committedKeys(site, `${site.name}_backfill`)).length, ROWS + 1, 'records');
    assert.deepEqual([await phase(), await held()], ['live', 0]);
    const left = await site.warehouse
      .query({
        doing: 'looking for what is left',
        sql: `LIST '${site.config.databricks.stagingVolume}/backfill/${String(result['load'])}/0'`,
      })
      .catch(() => []);
    assert.deepEqual(left, []);
  });

  it(
    'bring a table with rows to what Postgres holds, while both sides are changed; nothing comes back',
    { timeout: 400_000 },
    async () => {
      await older(
        `UPDATE public.employees SET salary = 7 WHERE emp_id BETWEEN 1000 AND 1099`,
        `INSERT INTO public.employees SELECT n, 'older', 5, true, '2020-01-01Z', NULL FROM generate_series(7000, 7049) AS n`,
        `DELETE FROM public.employees WHERE emp_id BETWEEN 1100 AND 1129`,
        `UPDATE public.employees SET off_date = NULL WHERE off_date = 'infinity'`,
      );
      for (let id = 1000; id < 1100; id++) expected.set(id, `Employee \t${id} 7.00`);
      for (let id = 7000; id < 7050; id++) expected.set(id, 'older 5.00');
      for (let id = 1100; id < 1130; id++) expected.delete(id);
      service = later(await startService(site.config), (made) => made.stop());
      const person = (id: number, salary: number) => ({ id, name: 'live', salary: `${salary}.00` });
      await sides.inDelta.upsert(person(9000, 1), person(10, 1));
      await sides.inPostgres.upsert(person(9001, 1), person(11, 1));

      // What it will commit is not there when the rows are read.
      const open = await site.pool.connect();
      await open.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
      await open.query(
        'UPDATE public.employees SET salary = 99 WHERE emp_id IN (12, 1001) AND off_date IS NULL',
      );
      await open.query(`INSERT INTO public.employees VALUES (9002, 'open', 1, true, '2024-01-01Z', NULL)`);
      const blocked = await site.pool.connect();
      await blocked.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
      await blocked.query('LOCK TABLE deltaferry.load_files IN SHARE MODE');

      const run = load('--from', 'postgres', '--piece', '700', '--json');
      await until(
        'everything is published',
        async () => {
          if (!run.alive()) throw new Error(textOf(run));
          return (await phase()) === 'handover';
        },
        { timeoutMs: 120_000 },
      );
      assert.ok((await held()) > 0);
      await open.query('COMMIT');
      open.release();
      expected.set(12, 'Employee \t12 99.00').set(1001, 'Employee \t1001 99.00').set(9002, 'open 1.00');
      (sides.made as { postgres: number }).postgres += 3;
      // Rows that differ and rows that do not, that Delta has and that it has not, on both sides.
      await sides.inPostgres.upsert(person(9003, 3), person(1002, 3), person(14, 3));
      await sides.inPostgres.remove(15, 1003, 7000);
      await sides.inDelta.upsert(person(9004, 4), person(1004, 4), person(16, 4), person(7001, 4));
      await sides.inDelta.remove(17, 1005);
      // The same row again, which is no change: what the load says of it counts.
      await site.warehouse.query({
        doing: 'rewriting',
        sql: `UPDATE ${site.deltaTable} SET salary = salary WHERE emp_id IN (1006, 1120)`,
      });
      await until('merges to wait for the load', () =>
        service!.lines.some((line) => line['state'] === 'waiting for a load'),
      );
      await blocked.query('COMMIT');
      blocked.release();

      assert.equal(await run.ended(), 0, textOf(run));
      assert.equal(await held(), 0);
      await sides.equal(120_000);
      await sides.assertCrossedOnce();
      const result = JSON.parse(run.printed.join('\n')) as { reconciled: Record<string, number> };
      assert.ok(result.reconciled['added']! >= 48, JSON.stringify(result));
      assert.ok(result.reconciled['corrected']! >= 95, JSON.stringify(result));
      assert.ok(result.reconciled['ended']! >= 30, JSON.stringify(result));
    },
  );

  it('leave a table in which files may be written anew and rows stay as they were: nothing crosses', async () => {
    for (const operation of ['DELETE', 'MERGE'])
      assert.ok((await vectorsAdded(site, operation)) > 0, `no deletion vector was added by ${operation}`);
    for (const sql of [
      `OPTIMIZE ${site.deltaTable}`,
      `REORG TABLE ${site.deltaTable} APPLY (PURGE)`,
      `UPDATE ${site.deltaTable} SET salary = salary WHERE emp_id % 7 = 0`,
    ])
      await site.warehouse.query({ doing: 'writing files anew', sql });
    await sides.inDelta.upsert({ id: 9050, name: 'live', salary: '1.00' });
    await sides.equal();
    await sides.assertCrossedOnce();
  });

  it('given up, let live changes go on', { timeout: 200_000 }, async () => {
    const blocked = await site.pool.connect();
    await blocked.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
    await blocked.query('LOCK TABLE deltaferry.load_files IN SHARE MODE');
    const run = load('--from', 'postgres');
    await until('it is under way', async () => (await phase()) === 'handover', { timeoutMs: 90_000 });
    await sides.inPostgres.upsert({ id: 9100, name: 'live', salary: '1.00' });
    await run.kill();
    await blocked.query('COMMIT');
    blocked.release();
    const other = load('--resume', '--from', 'delta');
    assert.equal(await other.ended(), 2, textOf(other));
    assert.match(textOf(other), /LOAD_OTHER_SOURCE|comes from postgres/);
    const giving = load('--give-up');
    assert.equal(await giving.ended(), 0, textOf(giving));
    assert.deepEqual([await phase(), await held()], ['failed', 0]);
    await sides.equal(60_000);
  });
});

describe('a load of a plain table, which goes one way only', () => {
  const later = undoing();

  it(
    'makes Delta what Postgres holds, whatever others have written there',
    { timeout: 200_000 },
    async () => {
      const site = later(
        await openSite({ prefix: 'plain_into_delta', direction: 'postgres-to-delta' }),
        (made) => made.drop(),
      );
      const { tables, ...rest } = JSON.parse(readFileSync(site.configFile, 'utf8')) as {
        readonly tables: readonly Record<string, unknown>[];
      };
      const plain = { ...tables[0], postgres: { table: 'public.plain', history: 'plain' } };
      writeFileSync(site.configFile, JSON.stringify({ ...rest, tables: [plain] }));
      await site.pool.query(
        `CREATE TABLE public.plain (emp_id bigint PRIMARY KEY, name text, salary numeric(12,2));
       INSERT INTO public.plain SELECT n, 'older', n FROM generate_series(1, 500) AS n`,
      );
      await setupTables(await loadConfig({ file: site.configFile, env: {} }));
      await site.warehouse.query({
        doing: 'filling the table',
        sql: `INSERT INTO ${site.deltaTable} VALUES (1, 'older', 1), (2, 'somebody’s', 2), (501, 'somebody’s', 1)`,
      });
      const args = [site.name, '--config', site.configFile];
      const run = later(startBackfill([...args, '--from', 'postgres', '--json']), (made) => made.kill());
      assert.equal(await run.ended(), 0, textOf(run));
      const { reconciled } = JSON.parse(run.printed.join('\n')) as { readonly reconciled: unknown };
      assert.deepEqual(reconciled, { added: 498, corrected: 1, ended: 1 });
      const [found] = await site.warehouse.query({
        doing: 'looking',
        sql: `SELECT count(*) AS n, count(DISTINCT emp_id) AS keys, bool_and(name = 'older' AND salary = emp_id) AS exact FROM ${site.deltaTable}`,
      });
      assert.deepEqual(found, { n: 500n, keys: 500n, exact: true });
    },
  );
});
