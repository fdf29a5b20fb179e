import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg, { type PoolClient } from 'pg';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { openPool } from '../../../src/connections/postgres/pool.ts';
import { BugError, FencedError, TransientError } from '../../../src/errors.ts';
import { until } from '../../support/until.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { change, createEmployees, openApplier, shown } from './employees.ts';
import { openProxy } from './proxy.ts';
import { rejectsAs } from './rejects.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(async () => await database.drop());

const QUICK = { lockTimeoutMs: 200 };

describe('who does not own the partition changes nothing', () => {
  test('a zombie with the old offset is fenced', async () => {
    await createEmployees(database.pool, 'zombie');
    const owner = await openApplier(database.pool, 'zombie');
    await owner.apply(change(1, 1, 'A'));
    const stale = { partition: 0, expected: 0n, next: 1n, changes: [change(1, 5, 'B')] };
    await assert.rejects(owner.sink.apply(stale), FencedError);
    assert.equal(await shown(database.pool, 'zombie', 1), 'A[1,)');
    assert.deepEqual(await owner.sink.claim([0], () => 0n), new Map([[0, 1n]]));
  });

  test('a partition that nobody claimed is fenced', async () => {
    await createEmployees(database.pool, 'unclaimed');
    const { sink } = await openApplier(database.pool, 'unclaimed');
    const batch = { partition: 7, expected: 0n, next: 1n, changes: [change(1, 1, 'A')] };
    await assert.rejects(sink.apply(batch), FencedError);
  });

  test('of many at the same offset exactly one gets through', async () => {
    await createEmployees(database.pool, 'race');
    const { sink } = await openApplier(database.pool, 'race');
    await sink.claim([0], () => 0n);
    const tries = ['A', 'B', 'C', 'D'].map((image, index) =>
      sink.apply({ partition: 0, expected: 0n, next: 1n, changes: [change(index + 1, 1, image)] }),
    );
    const results = await Promise.allSettled(tries);
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const result of results)
      if (result.status === 'rejected') assert.ok(result.reason instanceof FencedError);
    assert.equal((await database.pool.query('SELECT FROM race')).rowCount, 1);
  });

  test('a claim keeps what is recorded and starts the rest where told', async () => {
    const { sink } = await openApplier(database.pool, 'claims');
    assert.deepEqual(await sink.claim([3], () => 41n), new Map([[3, 41n]]));
    const again = await sink.claim([3, 4], () => 9_007_199_254_740_993n);
    assert.deepEqual(
      again,
      new Map([
        [3, 41n],
        [4, 9_007_199_254_740_993n],
      ]),
    );
  });
});

describe('a person at the same key at the same moment costs a retry, nothing else', () => {
  async function withPerson(sql: string, then: (person: PoolClient) => Promise<void>): Promise<void> {
    const person = await database.pool.connect();
    try {
      await person.query('BEGIN');
      await person.query(sql);
      await then(person);
    } finally {
      await person.query('ROLLBACK');
      person.release();
    }
  }

  test('a locked row: transient after the lock timeout, nothing half applied, and then it goes through', async () => {
    await createEmployees(database.pool, 'locked');
    const applier = await openApplier(database.pool, 'locked', QUICK);
    await applier.apply(change(1, 1, 'A'), change(2, 1, 'A'));
    await withPerson(`UPDATE locked SET name = 'mine' WHERE emp_id = 2`, async () => {
      await rejectsAs('transient', applier.apply(change(1, 5, 'B'), change(2, 5, 'B')));
      assert.equal(await shown(database.pool, 'locked', 1), 'A[1,)');
      assert.deepEqual(await applier.sink.claim([0], () => 0n), new Map([[0, 2n]]));
    });
    await applier.apply(change(1, 5, 'B'), change(2, 5, 'B'));
    assert.equal(await shown(database.pool, 'locked', 2), 'A[1,5) B[5,)');
  });

  test('a current version written meanwhile: transient, and settled by time on the retry', async () => {
    await createEmployees(database.pool, 'rival');
    const applier = await openApplier(database.pool, 'rival');
    const rival = `INSERT INTO rival VALUES (1, 'P', 1, true, '2025-01-01 00:00:00.000003+00', NULL)`;
    let attempt: Promise<unknown> = Promise.resolve();
    await withPerson(rival, async (person) => {
      attempt = rejectsAs('transient', applier.apply(change(1, 5, 'B')));
      await until('the sink waits for the person', async () => {
        const waiting = await database.pool.query(
          `SELECT FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`,
        );
        return waiting.rowCount === 1;
      });
      await person.query('COMMIT');
    });
    await attempt;
    await applier.apply(change(1, 5, 'B'));
    assert.equal(await shown(database.pool, 'rival', 1), 'P[3,5) B[5,)');
  });

  test('the exact path waits no longer', async () => {
    await createEmployees(database.pool, 'locked_late');
    const applier = await openApplier(database.pool, 'locked_late', QUICK);
    await applier.apply(change(1, 1, 'A'), change(1, 9, 'C'));
    await withPerson(`UPDATE locked_late SET name = 'mine'`, async () => {
      await rejectsAs('transient', applier.apply(change(1, 5, 'B')));
    });
    await applier.apply(change(1, 5, 'B'));
    assert.equal(await shown(database.pool, 'locked_late', 1), 'A[1,5) B[5,9) C[9,)');
  });
});

test('a row that cannot be written is refused, and nothing follows the end of its transaction', async (context) => {
  await createEmployees(database.pool, 'refused');
  const applier = await openApplier(database.pool, 'refused');
  const ask = pg.Client.prototype.query as (this: pg.Client, ...given: unknown[]) => unknown;
  const asked: unknown[] = [];
  context.mock.method(pg.Client.prototype, 'query', function (this: pg.Client, ...given: unknown[]) {
    asked.push(given[0]);
    return ask.apply(this, given);
  });
  await assert.rejects(applier.apply({ ...change(1, 1, 'A'), after: [1, 5, '10.50'] }), BugError);
  assert.equal(asked.at(-1), 'ROLLBACK');
});

test('the transaction says whose changes it applies, so that capture does not echo them', async () => {
  await createEmployees(database.pool, 'captured');
  await database.pool.query(`
    CREATE TABLE seen (op text, origin text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO seen VALUES (TG_OP, current_setting('deltaferry.origin', true)); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON captured FOR EACH ROW EXECUTE FUNCTION note()`);
  const applier = await openApplier(database.pool, 'captured', { origin: 'delta-eu' });
  await applier.apply(change(1, 1, 'A'), change(1, 9, 'B'));
  await applier.apply(change(1, 20, 'C'));
  await applier.apply(change(1, 5, null), change(1, 9, null));
  const seen = await database.pool.query<{ op: string; origin: string }>(
    'SELECT DISTINCT op, origin FROM seen ORDER BY op',
  );
  assert.deepEqual(
    seen.rows,
    ['DELETE', 'INSERT', 'UPDATE'].map((op) => ({ op, origin: 'delta-eu' })),
  );
  const outside = await database.pool.query<{ origin: string | null }>(
    `SELECT nullif(current_setting('deltaferry.origin', true), '') AS origin`,
  );
  assert.equal(outside.rows[0]?.origin, null);
});

describe('a connection lost on the way', () => {
  test('the answer to COMMIT is lost: the outcome is unknown, claim tells it, a replay is fenced', async () => {
    await createEmployees(database.pool, 'lost_answer');
    const proxy = await openProxy(database.url);
    const pool = openPool({ url: proxy.url, maxConnections: 1 });
    try {
      const direct = await openApplier(database.pool, 'lost_answer');
      const applier = await openApplier(pool, 'lost_answer');
      await applier.apply(change(1, 1, 'A'));
      proxy.loseAnswerTo('COMMIT\0');
      const batch = { partition: 0, expected: 1n, next: 2n, changes: [change(1, 5, 'B')] };
      const attempt = applier.sink.apply(batch).catch((error: unknown) => error);
      await until('it is committed', async () => (await direct.sink.claim([0], () => 0n)).get(0) === 2n);
      proxy.cut();
      const error = await attempt;
      assert.ok(error instanceof TransientError);
      assert.equal(error.code, 'COMMIT_UNKNOWN');
      await assert.rejects(applier.sink.apply(batch), FencedError);
      assert.equal(await shown(database.pool, 'lost_answer', 1), 'A[1,5) B[5,)');
    } finally {
      await proxy.close();
      await pool.end();
    }
  });

  test('the backend is killed in mid-batch: transient, nothing applied, and the next try works', async () => {
    await createEmployees(database.pool, 'killed');
    const applier = await openApplier(database.pool, 'killed');
    await applier.apply(change(1, 1, 'A'), change(2, 1, 'A'));
    const person = await database.pool.connect();
    try {
      await person.query('BEGIN');
      await person.query('UPDATE killed SET name = name WHERE emp_id = 2');
      const attempt = rejectsAs('transient', applier.apply(change(1, 5, 'B'), change(2, 5, 'B')));
      await until('it was killed while it waited', async () => {
        const killed = await database.pool.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        );
        return killed.rowCount === 1;
      });
      await attempt;
    } finally {
      await person.query('ROLLBACK');
      person.release();
    }
    assert.equal(await shown(database.pool, 'killed', 1), 'A[1,)');
    await applier.apply(change(1, 5, 'B'), change(2, 5, 'B'));
    assert.equal(await shown(database.pool, 'killed', 1), 'A[1,5) B[5,)');
  });
});
