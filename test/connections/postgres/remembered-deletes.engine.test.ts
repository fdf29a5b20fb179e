import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { createRememberedDeletes } from '../../../src/connections/postgres/remembered-deletes.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { change, createEmployees, openApplier, shown } from './employees.ts';

const HOUR_MS = 3_600_000;
const KEPT_MS = 24 * HOUR_MS;

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(async () => await database.drop());

/** Keys of which a table's history remembers a delete. */
async function remembered(table: string): Promise<string[]> {
  const { rows } = await database.pool.query<{ key: string }>(
    'SELECT key FROM deltaferry.orphan_deletes WHERE target = $1 ORDER BY length(key), key',
    [table],
  );
  return rows.map(({ key }) => key);
}

async function remember(table: string, keys: readonly number[], hoursAgo: number): Promise<void> {
  await database.pool.query(
    `INSERT INTO deltaferry.orphan_deletes (target, key, ts, recorded_at)
     SELECT $1, key, '2025-06-01Z', now() - $3 * interval '1 hour' FROM unnest($2::text[]) AS key`,
    [table, keys.map(String), hoursAgo],
  );
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, n) => n + 1);
const forgetter = (historyTable: string, atOnce?: number) =>
  createRememberedDeletes({ pool: database.pool, historyTable, atOnce });

describe('deletes that are remembered', () => {
  afterEach(() => database.pool.query('DELETE FROM deltaferry.orphan_deletes'));

  it('are forgotten once they are older than asked for: no younger ones, and none of another table', async () => {
    await remember('mine', [1, 2], 25);
    await remember('mine', [3, 4], 23);
    await remember('theirs', [5], 25);
    const deletes = forgetter('mine');
    assert.equal(await deletes.forget(KEPT_MS), 2);
    assert.equal(await deletes.forget(KEPT_MS), 0);
    assert.deepEqual([await remembered('mine'), await remembered('theirs')], [['3', '4'], ['5']]);
  });

  it('end an upsert that comes late for as long as they are kept', async () => {
    await createEmployees(database.pool, 'employees');
    const applier = await openApplier(database.pool, 'employees');
    await applier.apply(change(1, 5, null), change(2, 5, null));
    await database.pool.query(
      `UPDATE deltaferry.orphan_deletes SET recorded_at = now() - interval '25 hours' WHERE key = '2'`,
    );
    assert.equal(await forgetter('employees').forget(KEPT_MS), 1);
    await applier.apply(change(1, 3, 'A'), change(2, 3, 'A'));
    assert.deepEqual(
      [await shown(database.pool, 'employees', 1), await shown(database.pool, 'employees', 2)],
      ['A[3,5)', 'A[3,)'],
    );
  });

  it('go in small steps, the oldest first', async () => {
    await remember('steps', [1, 2, 3], 30);
    await remember('steps', [4, 5], 40);
    const deletes = forgetter('steps', 2);
    assert.equal(await deletes.forget(KEPT_MS), 2);
    assert.deepEqual(await remembered('steps'), ['1', '2', '3']);
    assert.deepEqual(
      [await deletes.forget(KEPT_MS), await deletes.forget(KEPT_MS), await deletes.forget(KEPT_MS)],
      [2, 1, 0],
    );
  });

  it('stay while a load of their table is under way, and go once it has ended', async () => {
    await remember('loaded', [1], 25);
    await remember('other', [1], 25);
    for (const phase of ['snapshot', 'handover']) {
      await database.pool.query(
        `INSERT INTO deltaferry.loads (id, name, target, topic, phase) VALUES ($1, 'loaded', 'loaded', 't', $1)`,
        [phase],
      );
      assert.equal(await forgetter('loaded').forget(KEPT_MS), 0, phase);
      await database.pool.query(`UPDATE deltaferry.loads SET phase = 'live' WHERE id = $1`, [phase]);
    }
    assert.equal(await forgetter('other').forget(KEPT_MS), 1);
    assert.equal(await forgetter('loaded').forget(KEPT_MS), 1);
  });

  it('are passed over where somebody works on them: it waits for nobody', async () => {
    await remember('busy', [1, 2, 3], 25);
    const applier = await database.pool.connect();
    try {
      await applier.query('BEGIN');
      await applier.query(`DELETE FROM deltaferry.orphan_deletes WHERE target = 'busy' AND key = '1'`);
      assert.equal(await forgetter('busy').forget(KEPT_MS), 2);
      await applier.query('ROLLBACK');
    } finally {
      applier.release();
    }
    assert.deepEqual(await remembered('busy'), ['1']);
  });

  it('are each forgotten once by several replicas at the same time', async () => {
    await remember('shared', upTo(5000), 25);
    const replica = async (): Promise<number> => {
      const deletes = forgetter('shared', 100);
      let all = 0;
      for (let count = 0; (count = await deletes.forget(KEPT_MS)) > 0;) all += count;
      return all;
    };
    const counts = await Promise.all([replica(), replica(), replica()]);
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      5000,
    );
    assert.deepEqual(await remembered('shared'), []);
  });
});
