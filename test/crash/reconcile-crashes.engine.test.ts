import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { seededRandom } from '../support/change-generator.ts';
import { endsWell } from '../support/ends-well.ts';
import { isPublished } from '../support/feed-progress.ts';
import { caughtUp } from '../support/history-check.ts';
import { openRecords } from '../support/records.ts';
import { openSite } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';

const ROWS = 60_000;
/** A transaction each; what one of them has to wait for stands in the way of the load in the midst of it. */
const KEYS_PER_RANGE = 20_000;
const RANGES = ROWS / KEYS_PER_RANGE;
/** The ranges in whose midst it is killed, and where it comes no further when it is killed anywhere before that. */
const KILLS = [
  { range: 0, at: 'midst' },
  { range: 1, at: 'midst' },
  { range: 2, at: 'random' },
  { range: 2, at: 'midst' },
] as const;
const RANDOM_MS = 600;
/** New keys that live changes bring per range. */
const INSERTS = 10;

/** What live changes do to keys that are right, wrong and missing, of all ranges, in the midst of each. */
function liveChangeOf(id: number): 'update' | 'delete' | null {
  const tens = Math.floor(id / 10) % 10;
  if (id >= ROWS || id % 1000 >= 100 || id % 10 > 2 || tens >= 2 * RANGES) return null;
  return tens % 2 === 1 ? 'delete' : 'update';
}

describe('a load that is compared with a table which holds rows', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const later = undoing();

  it(
    'is killed in the midst of each range, and goes on: every key is put right once',
    { timeout: 300_000 },
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
      const live = async (range: number): Promise<void> => {
        const [from, to] = [ROWS + 1 + range * INSERTS, ROWS + 1 + (range + 1) * INSERTS];
        await site.warehouse.query({
          doing: 'changing rows',
          sql: `MERGE INTO ${site.deltaTable} t USING (
              SELECT id FROM range(${to}) WHERE id >= ${from} OR id < ${ROWS} AND id % 1000 < 100 AND id % 10 <= 2
                AND id DIV 10 % 10 IN (${2 * range}, ${2 * range + 1})) s ON t.emp_id = s.id
            WHEN MATCHED AND s.id DIV 10 % 2 = 1 THEN DELETE
            WHEN MATCHED THEN UPDATE SET salary = 5
            WHEN NOT MATCHED THEN INSERT (emp_id, name, salary) VALUES (s.id, 'live', 5)`,
        });
      };
      for (const [n, { range, at }] of KILLS.entries()) {
        // Of no live change: consumers would wait for it, and the load for them.
        const key = range * KEYS_PER_RANGE + 10_500;
        assert.equal(liveChangeOf(key), null);
        await person.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
        await person.query('SELECT FROM employees WHERE emp_id = $1 FOR UPDATE', [key]);
        const run = n === 0 ? backfill() : backfill('--resume');
        await until(`the load to ${at === 'midst' ? `wait for key ${key}` : 'be compared'}`, async () => {
          if (!run.alive()) throw new Error(textOf(run));
          return at === 'midst'
            ? await waiting()
            : run.lines.some(({ msg }) => /(into|with) the table/.test(msg));
        });
        if (at === 'midst') await live(range);
        else await delay(random() * RANDOM_MS);
        t.diagnostic(`kill ${n + 1}: ${run.lines.findLast(({ level }) => level === 0)?.msg}`);
        assert.ok(run.alive(), textOf(run));
        await run.kill();
        await person.query('COMMIT');
      }
      const last = backfill('--resume');
      assert.equal(await last.ended(), 0, textOf(last));
      const { reconciled } = JSON.parse(last.printed.join('\n')) as {
        readonly reconciled: { readonly added: number; readonly corrected: number; readonly ended: number };
      };
      t.diagnostic(`the last of them put right ${JSON.stringify(reconciled)}`);
      const wrong = ROWS / 10;
      assert.ok(reconciled.corrected > 0 && reconciled.corrected < wrong, 'it goes on where it was');
      const [newest] = await site.warehouse.query({
        doing: 'looking for the newest version',
        sql: `DESCRIBE HISTORY ${site.deltaTable} LIMIT 1`,
      });
      await until('the last change', () => isPublished(worker.lines, Number(newest?.['version'])));
      await caughtUp(site, 120_000);
      await endsWell(worker);

      const records = later(await openRecords(site), (made) => made.close());
      const found = Map.groupBy(await records.history(), ({ id }) => id);
      assert.equal(found.size, ROWS + 1 + 100 + RANGES * INSERTS);
      for (const [id, versions] of found) {
        const told = versions.map(({ salary, to }) => `${salary}${to === null ? '' : ' ended'}`);
        assert.deepEqual(told, expected(id), `key ${id}, seed ${seed} (set CRASH_SEED)`);
      }
    },
  );
});

/** The versions of a key, of salary 2 where it was wrong, 3 where it was made up, 5 since a live change. */
function expected(id: number): string[] {
  if (id < 0) return ['3.00 ended'];
  if (id > ROWS) return ['5.00'];
  const wrong = id < ROWS && id % 10 === 0 ? ['2.00 ended'] : [];
  const change = liveChangeOf(id);
  if (change === null) return [...wrong, '1.00'];
  return [...wrong, '1.00 ended', ...(change === 'update' ? ['5.00'] : [])];
}
