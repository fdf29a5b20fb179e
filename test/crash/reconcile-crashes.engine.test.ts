import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { endsWell } from '../support/ends-well.ts';
import { openRecords } from '../support/records.ts';
import { openSite } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';

const ROWS = 60_000;
/** A transaction each; what one of them has to wait for stands in the way of the load in the midst of it. */
const KEYS_PER_RANGE = 20_000;

describe('a load that is compared with a table which holds rows', () => {
  const later = undoing();

  it(
    'is killed in the midst of each range, and goes on: every key is put right once',
    { timeout: 240_000 },
    async (t) => {
      const site = later(await openSite({ prefix: 'compared' }), (made) => made.drop());
      await site.warehouse.query({
        doing: 'filling the table',
        sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), 1 FROM range(${ROWS})`,
      });
      const backfill = (...args: string[]) =>
        later(startBackfill([site.name, '--config', site.configFile, '--json', ...args]), (made) =>
          made.kill(),
        );
      const first = backfill();
      assert.equal(await first.ended(), 0, textOf(first));
      const worker = later(startWorker(['--config', site.configFile]), (made) => made.kill());
      // A later version: what the load says of it comes after what the table has.
      await site.warehouse.query({
        doing: 'adding a row',
        sql: `INSERT INTO ${site.deltaTable} VALUES (${ROWS}, 'one more', 1)`,
      });
      await site.pool.query('UPDATE employees SET salary = 2 WHERE emp_id % 10 = 0');
      await site.pool.query('DELETE FROM employees WHERE emp_id % 10 = 1');
      await site.pool.query(
        `INSERT INTO employees (emp_id, name, salary, is_active, on_date)
         SELECT -id, 'nobody', 3, true, '2001-01-01' FROM generate_series(1, 100) AS id`,
      );

      const person = later(await site.pool.connect(), (client) => client.release(true));
      const { rows: own } = await person.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      const waiting = async (): Promise<boolean> => {
        const { rows } = await site.pool.query(
          'SELECT FROM pg_stat_activity WHERE application_name = $1 AND $2 = ANY (pg_blocking_pids(pid))',
          [`deltaferry backfill/${site.name}`, own[0]!.pid],
        );
        return rows.length > 0;
      };
      for (let range = 0; range < ROWS / KEYS_PER_RANGE; range++) {
        const key = range * KEYS_PER_RANGE + 10_000;
        await person.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
        await person.query('SELECT FROM employees WHERE emp_id = $1 FOR UPDATE', [key]);
        const run = range === 0 ? backfill() : backfill('--resume');
        await until(`the load to wait for key ${key}`, async () => {
          if (!run.alive()) throw new Error(textOf(run));
          return await waiting();
        });
        await run.kill();
        await person.query('COMMIT');
      }
      const last = backfill('--resume');
      assert.equal(await last.ended(), 0, textOf(last));
      const { reconciled } = JSON.parse(last.printed.join('\n')) as {
        readonly reconciled: { readonly added: number; readonly corrected: number; readonly ended: number };
      };
      t.diagnostic(`the last of four runs put right ${JSON.stringify(reconciled)}`);
      const wrong = ROWS / 10;
      assert.ok(reconciled.corrected > 0 && reconciled.corrected < wrong, 'it goes on where it was');
      await endsWell(worker);

      const records = later(await openRecords(site), (made) => made.close());
      const found = Map.groupBy(await records.history(), ({ id }) => id);
      assert.equal(found.size, ROWS + 1 + 100);
      for (const [id, versions] of found) {
        const told = versions.map(({ salary, to }) => [salary, to === null]);
        const current = ['1.00', true];
        if (id < 0) assert.deepEqual(told, [['3.00', false]]);
        else if (id < ROWS && id % 10 === 0) assert.deepEqual(told, [['2.00', false], current], `key ${id}`);
        else assert.deepEqual(told, [current], `key ${id}`);
      }
    },
  );
});
