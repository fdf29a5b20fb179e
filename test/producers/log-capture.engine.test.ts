import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Change } from '../../src/change/change.ts';
import { describeError, OperatorError } from '../../src/errors.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import type { PostgresLogFeedOptions } from '../../src/producers/postgres-log-deps.ts';
import { openCaptureDatabase, type CaptureDatabase, type CapturedTable } from './captured-table.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { withFaults, type Fault } from './faults.ts';
import { startLogPoller, type LogRun } from './log-run.ts';

/** Every rule of "The log poller" (docs/SPEC.md) on a real Postgres; only the topic is in memory. */
let database: CaptureDatabase;
let topic: FakeTopic;
/** Both ways to read a window have to give the same. */
let smallWindowRows: number;
let runs: LogRun[];
before(async () => {
  database = await openCaptureDatabase();
});
after(() => database?.drop());
beforeEach(() => {
  topic = new FakeTopic();
  runs = [];
});
afterEach(async () => {
  for (const run of runs) await run.drain();
});

interface Start extends Partial<PostgresLogFeedOptions> {
  readonly pageChanges?: number;
  readonly log?: ChangeLog;
}

function start(table: CapturedTable, { pageChanges, log, ...options }: Start = {}): LogRun {
  const run = startLogPoller({
    table: table.name,
    source: table.source({ pageChanges, smallWindowRows }),
    log: log ?? topic.log(),
    leadership: new FakeLeadership().port(),
    options: { upkeepMs: 200, ...options },
  });
  runs.push(run);
  return run;
}

async function published(count: number): Promise<void> {
  const stopped = (): boolean => runs.some((run) => run.state().name === 'stopped');
  await until(
    () => topic.changes.length + topic.rejected.length >= count || stopped(),
    `${count} changes, of which there are ${topic.changes.length} and ${topic.rejected.length} rejected`,
  );
  for (const run of runs) {
    const state = run.state();
    if (state.name === 'stopped') throw new Error(describeError(state.error), { cause: state.error });
  }
}

async function stops(run: LogRun, code: string): Promise<OperatorError> {
  await until(() => run.state().name === 'stopped', `it stops, now ${JSON.stringify(run.state())}`);
  const state = run.state();
  assert.ok(state.name === 'stopped' && state.error instanceof OperatorError, JSON.stringify(state));
  assert.equal(state.error.code, code, state.error.message);
  return state.error;
}

/** Everything that is committed by now is published, and nothing else. */
async function settled(table: CapturedTable): Promise<void> {
  const session = await table.session();
  await session.query(`INSERT INTO ${table.table} VALUES (999999, 'last', 1)`);
  await until(
    () => lines().some((each) => each.includes('→last')),
    `the last change is published: ${lines().join(', ')}`,
  );
  await session.query(`DELETE FROM ${table.table} WHERE emp_id = 999999`);
  await until(() => lines().some((each) => /last!?→/.test(each)), 'the very last one as well');
}

const lines = (): string[] => topic.changes.map(line);
const line = ({ op, key, before, after }: Change): string =>
  `${op} ${key} ${String(before?.[1] ?? '')}→${String(after?.[1] ?? '')}`;
const withoutLast = (): string[] => lines().filter((each) => !each.includes('last'));

for (const [way, rows] of [
  ['in one answer', 500],
  ['as a stream', 0],
] as const)
  describe(`log poller, windows ${way}: changes`, () => {
    beforeEach(() => {
      smallWindowRows = rows;
    });

    it('insert, update, delete, a changed key and TRUNCATE, with transaction and time', async () => {
      const table = await database.table();
      await table.sql(
        `INSERT INTO ${table.table} VALUES (1, 'Ann', 10), (2, 'Bob', 20.25), (3, 'Cid', NULL)`,
      );
      start(table);
      await published(3);
      await table.sql(`UPDATE ${table.table} SET name = 'Anna' WHERE emp_id = 1`);
      await table.sql(`UPDATE ${table.table} SET emp_id = 9 WHERE emp_id = 2`);
      await table.sql(`DELETE FROM ${table.table} WHERE emp_id = 3`);
      await table.sql(`TRUNCATE ${table.table}`);
      await published(9);
      assert.deepEqual(lines().slice(0, 4), [
        'insert 1 →Ann',
        'insert 2 →Bob',
        'insert 3 →Cid',
        'update 1 Ann→Anna',
      ]);
      assert.deepEqual(lines().slice(4).sort(), [
        'delete 1 Anna→',
        'delete 2 Bob→',
        'delete 3 Cid→',
        'delete 9 Bob→',
        'insert 9 →Bob',
      ]);
      assert.deepEqual(topic.changes[1]?.after, [2, 'Bob', '20.25']);
      assert.deepEqual(topic.changes[2]?.after, [3, 'Cid', null]);
      assert.ok(topic.changes.every(({ origin, load }) => origin === 'postgres' && load === null));
      const logged = await table.sql<{ id: string; xid: string; micros: string }>(
        `SELECT change_id AS id, xid::text, (extract(epoch FROM changed_at) * 1000000)::bigint AS micros FROM ${table.log} ORDER BY change_id`,
      );
      assert.deepEqual(
        topic.changes.map(({ position, tx, ts }) => ({
          id: String(position),
          xid: String(tx),
          micros: String(ts),
        })),
        logged,
      );
    });

    it('savepoints and rollbacks: only what was committed, by its net effect', async () => {
      const table = await database.table();
      await table.sql(`INSERT INTO ${table.table} VALUES (1, 'Ann', 1), (2, 'Bob', 1)`);
      start(table);
      await published(2);
      const session = await table.session();
      await session.query('BEGIN');
      await session.query(`UPDATE ${table.table} SET name = 'kept' WHERE emp_id = 1`);
      await session.query('SAVEPOINT one');
      await session.query(`UPDATE ${table.table} SET name = 'lost' WHERE emp_id IN (1, 2)`);
      await session.query(`INSERT INTO ${table.table} VALUES (3, 'lost', 1)`);
      await session.query('ROLLBACK TO one');
      await session.query(`INSERT INTO ${table.table} VALUES (4, 'first', 1)`);
      await session.query('SAVEPOINT two');
      await session.query(`UPDATE ${table.table} SET name = 'second' WHERE emp_id = 4`);
      await session.query('RELEASE two');
      await session.query('COMMIT');
      await session.query('BEGIN');
      await session.query(`DELETE FROM ${table.table}`);
      await session.query('ROLLBACK');
      await settled(table);
      assert.deepEqual(withoutLast().slice(2), ['update 1 Ann→kept', 'insert 4 →second']);
    });

    it('the net effect of a transaction: there and back is nothing, insert and delete is nothing, three updates are one', async () => {
      const table = await database.table();
      await table.sql(`INSERT INTO ${table.table} SELECT n, 'v0', n FROM generate_series(1, 5) n`);
      start(table, { pageChanges: 1, maxBatchChanges: 1 });
      await published(5);
      const session = await table.session();
      await session.query('BEGIN');
      for (const name of ['v1', 'v2', 'v3'])
        await session.query(`UPDATE ${table.table} SET name = '${name}' WHERE emp_id = 1`);
      for (const name of ['away', 'v0'])
        await session.query(`UPDATE ${table.table} SET name = '${name}' WHERE emp_id = 2`);
      await session.query(`INSERT INTO ${table.table} VALUES (6, 'gone', 1)`);
      await session.query(`DELETE FROM ${table.table} WHERE emp_id = 6`);
      await session.query(`DELETE FROM ${table.table} WHERE emp_id = 3`);
      await session.query(`INSERT INTO ${table.table} VALUES (3, 'again', 1)`);
      await session.query(`DELETE FROM ${table.table} WHERE emp_id = 4`);
      await session.query(`INSERT INTO ${table.table} VALUES (4, 'v0', 4)`);
      await session.query(`UPDATE ${table.table} SET name = 'v1' WHERE emp_id = 5`);
      await session.query(`DELETE FROM ${table.table} WHERE emp_id = 5`);
      await session.query('COMMIT');
      await settled(table);
      assert.deepEqual(withoutLast().slice(5), ['update 1 v0→v3', 'update 3 v0→again', 'delete 5 v0→']);
    });

    it("a user's own AFTER ROW trigger that updates the same row again: one change, from the first image to the last", async () => {
      const table = await database.table();
      // Named so that it fires before ours: the log then has the inner change first.
      await table.sql(`CREATE FUNCTION touch_${table.name}() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN IF NEW.name NOT LIKE '%!' THEN UPDATE ${table.table} SET name = NEW.name || '!' WHERE emp_id = NEW.emp_id; END IF; RETURN NULL; END $$`);
      await table.sql(
        `CREATE TRIGGER a_touch AFTER INSERT OR UPDATE ON ${table.table} FOR EACH ROW EXECUTE FUNCTION touch_${table.name}()`,
      );
      await table.sql(`INSERT INTO ${table.table} VALUES (1, 'Ann', 1), (2, 'Bob', 1)`);
      await table.sql(`UPDATE ${table.table} SET name = 'Anna' WHERE emp_id = 1`);
      const inner = await table.sql<{ op: string; after: string }>(
        `SELECT op::text, after ->> 'name' AS after FROM ${table.log} WHERE key = '1' ORDER BY change_id`,
      );
      assert.deepEqual(
        inner.map(({ op, after }) => `${op} ${after}`),
        ['U Ann!', 'I Ann', 'U Anna!', 'U Anna'],
        'the log has the inner change first: otherwise this test shows nothing',
      );
      start(table);
      await published(3);
      await settled(table);
      assert.deepEqual(lines().slice(0, 3).sort(), [
        'insert 1 →Ann!',
        'insert 2 →Bob!',
        'update 1 Ann!→Anna!',
      ]);
    });

    it('a page break never splits a net change, nor turns an update into a delete and an insert', async () => {
      const table = await database.table();
      await table.sql(`INSERT INTO ${table.table} SELECT n, 'old', n FROM generate_series(1, 40) n`);
      const session = await table.session();
      await session.query('BEGIN');
      await session.query(`DELETE FROM ${table.table} WHERE emp_id <= 20`);
      await session.query(`UPDATE ${table.table} SET name = 'new' WHERE emp_id > 20`);
      await session.query(`INSERT INTO ${table.table} SELECT n, 'new', n FROM generate_series(1, 20) n`);
      await session.query('COMMIT');
      let calls = 0;
      // Resumed behind one page or another.
      const next = (method: string): Fault =>
        method === 'publish' && ++calls % 10 === 0 ? 'before' : 'none';
      const log = withFaults(topic.log(), next);
      start(table, { pageChanges: 1, maxBatchChanges: 1, backoffInitialMs: 1, log });
      await published(80);
      await settled(table);
      const ops = topic.changes.slice(40, 80).map(line).sort();
      assert.deepEqual(ops, Array.from({ length: 40 }, (_, n) => `update ${n + 1} old→new`).sort());
      assert.ok(topic.transactions.length >= 80, `${topic.transactions.length} transactions`);
    });

    it('rows of 1 MB pass, several to a window', async () => {
      const table = await database.table();
      await table.sql(
        `INSERT INTO ${table.table} SELECT n, repeat('ä', 500000) || n, n FROM generate_series(1, 12) n`,
      );
      start(table, { maxBatchBytes: 4 * 1024 * 1024 });
      await published(12);
      await table.sql(`UPDATE ${table.table} SET name = name || '.'`);
      await published(24);
      const lengths = topic.changes
        .slice(12)
        .map(({ key, before, after }) => `${key} ${String(before?.[1]).length} ${String(after?.[1]).length}`);
      assert.deepEqual(
        lengths.sort(),
        Array.from({ length: 12 }, (_, n) =>
          n < 9 ? `${n + 1} 500001 500002` : `${n + 1} 500002 500003`,
        ).sort(),
      );
      assert.ok(topic.transactions.length > 4, `${topic.transactions.length} transactions`);
    });

    it('a value that Delta cannot hold is rejected with its column, its neighbours are published', async () => {
      const table = await database.table({
        columns: 'emp_id bigint PRIMARY KEY, name text, born date',
        mapping: {
          name: 'people',
          key: ['emp_id'],
          columns: [
            { name: 'emp_id', type: { name: 'bigint' } },
            { name: 'name', type: { name: 'text' } },
            { name: 'born', type: { name: 'date' } },
          ],
        },
      });
      const run = start(table);
      await table.sql(
        `INSERT INTO ${table.table} VALUES (1, 'Ann', '2000-01-01'), (2, 'Bob', 'infinity'), (3, 'Cid', '0044-03-15 BC'), (4, 'Dan', '12000-01-01'), (5, 'Eve', NULL)`,
      );
      await table.sql(`UPDATE ${table.table} SET born = '2001-02-03' WHERE emp_id = 2`);
      await table.sql(`DELETE FROM ${table.table} WHERE emp_id = 3`);
      await published(7);
      assert.deepEqual(lines(), ['insert 1 →Ann', 'insert 5 →Eve', 'update 2 →Bob', 'delete 3 →']);
      assert.deepEqual(
        topic.rejected.map(({ key, code, message }) => `${key} ${code} ${message}`),
        [
          `2 VALUE_OUT_OF_RANGE Postgres ${table.name}: column born (date): "infinity" has no counterpart in Delta`,
          `3 VALUE_OUT_OF_RANGE Postgres ${table.name}: column born (date): "0044-03-15 BC" is outside the years 0001 to 9999 that both sides hold`,
          `4 VALUE_OUT_OF_RANGE Postgres ${table.name}: column born (date): "12000-01-01" is outside the years 0001 to 9999 that both sides hold`,
        ],
      );
      assert.deepEqual(JSON.parse(topic.rejected[0]?.payload ?? ''), {
        xid: String(
          (await table.sql<{ xid: string }>(`SELECT min(xid::text) AS xid FROM ${table.log}`))[0]?.xid,
        ),
        before: null,
        after: { emp_id: '2', name: 'Bob', born: 'infinity' },
      });
      assert.equal(run.state().name, 'polling');
    });
  });

for (const [way, rows] of [
  ['in one answer', 500],
  ['as a stream', 0],
] as const)
  describe(`log poller, windows ${way}: transactions that overlap`, () => {
    beforeEach(() => {
      smallWindowRows = rows;
    });

    it('one that stays open delays its own rows alone, and loses none', async () => {
      const table = await database.table();
      start(table);
      const open = await table.session();
      await open.query('BEGIN');
      await open.query(`INSERT INTO ${table.table} VALUES (1, 'slow', 1)`);
      for (let n = 2; n <= 6; n++) {
        await table.sql(`INSERT INTO ${table.table} VALUES (${n}, 'quick', 1)`);
        await published(n - 1);
      }
      assert.deepEqual(
        lines(),
        [2, 3, 4, 5, 6].map((n) => `insert ${n} →quick`),
      );
      await open.query(`UPDATE ${table.table} SET name = 'slow too' WHERE emp_id = 4`);
      await table.sql(`UPDATE ${table.table} SET name = 'quick too' WHERE emp_id = 2`);
      await published(6);
      await open.query('COMMIT');
      await published(8);
      assert.deepEqual(lines().slice(5), [
        'update 2 quick→quick too',
        'insert 1 →slow',
        'update 4 quick→slow too',
      ]);
    });

    it('the older transaction writes a key last: it is last on the topic, also within one window', async () => {
      const table = await database.table();
      const older = await table.session();
      await older.query('BEGIN');
      await older.query(`INSERT INTO ${table.table} VALUES (1, 'older', 1)`);
      await table.sql(`INSERT INTO ${table.table} VALUES (2, 'younger', 1)`);
      await older.query(`UPDATE ${table.table} SET name = 'older' WHERE emp_id = 2`);
      await older.query('COMMIT');
      start(table);
      await published(3);
      assert.deepEqual(lines(), ['insert 1 →older', 'insert 2 →younger', 'update 2 younger→older']);
      const [, second, third] = topic.changes;
      assert.ok(
        Number(third?.tx) < Number(second?.tx),
        'its transaction is the older one: otherwise this shows nothing',
      );
    });

    it('open in the snapshot that a poller resumes from, committed while it was away', async () => {
      const table = await database.table();
      const open = await table.session();
      await open.query('BEGIN');
      await open.query(`INSERT INTO ${table.table} VALUES (1, 'slow', 1)`);
      const { rows: opened } = await open.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
      const first = start(table);
      await table.sql(`INSERT INTO ${table.table} VALUES (2, 'quick', 1)`);
      await published(1);
      await first.drain();
      // Others of the server may be open, too.
      const [, , running = ''] = String(topic.position?.['acknowledged']).split(':');
      assert.ok(running.split(',').includes(opened[0]!.xid), 'the position holds the open transaction');
      await table.sql(`INSERT INTO ${table.table} VALUES (3, 'quick', 1)`);
      await open.query('COMMIT');
      start(table);
      await published(3);
      await settled(table);
      assert.deepEqual(withoutLast().sort(), ['insert 1 →slow', 'insert 2 →quick', 'insert 3 →quick']);
    });
  });

describe('log poller: stops with the remedy', () => {
  it('a database restored to an earlier time', async () => {
    const table = await database.table();
    const [row] = await table.sql<{ xmax: string }>(
      'SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xmax',
    );
    const later = BigInt(row!.xmax) + 1_000_000n;
    topic.position = { acknowledged: `${later}:${later}:`, target: null, last: '0' };
    await table.sql(`INSERT INTO ${table.table} VALUES (1, 'Ann', 1)`);
    const error = await stops(start(table), 'POSTGRES_RESTORED');
    assert.match(error.remedy ?? '', new RegExp(`deltaferry backfill ${table.name} --from postgres`));
    assert.deepEqual(topic.changes, []);
  });

  it('a database restored to a time within the window that was being published', async () => {
    const table = await database.table();
    const [row] = await table.sql<{ now: string; xmax: string }>(
      'SELECT pg_current_snapshot()::text AS now, pg_snapshot_xmax(pg_current_snapshot())::text AS xmax',
    );
    const later = BigInt(row!.xmax) + 1_000_000n;
    topic.position = { acknowledged: row!.now, target: `${later}:${later}:`, last: '7' };
    await stops(start(table), 'POSTGRES_RESTORED');
  });

  it('a trigger that was dropped or switched off, and goes on once it is back', async () => {
    const table = await database.table();
    await table.sql(`ALTER TABLE ${table.table} DISABLE TRIGGER deltaferry_${table.name}_update`);
    const run = start(table, { stoppedRetryMs: 50 });
    const error = await stops(run, 'CAPTURE_MISSING');
    assert.match(error.message, /no enabled trigger for UPDATE/);
    assert.match(
      error.remedy ?? '',
      new RegExp(`deltaferry setup.*deltaferry backfill ${table.name} --from postgres`),
    );
    await table.sql(`ALTER TABLE ${table.table} ENABLE TRIGGER deltaferry_${table.name}_update`);
    await table.sql(`INSERT INTO ${table.table} VALUES (1, 'Ann', 1)`);
    await until(() => topic.changes.length === 1, 'it goes on');
    await table.sql(`DROP TRIGGER deltaferry_${table.name}_truncate ON ${table.table}`);
    assert.match((await stops(run, 'CAPTURE_MISSING')).message, /no enabled trigger for TRUNCATE/);
  });

  it('a log that is not there', async () => {
    const table = await database.table();
    await table.sql(`DROP TABLE ${table.log}`);
    assert.match((await stops(start(table), 'CAPTURE_MISSING')).message, /no log deltaferry\./);
  });

  it('a stored position that is none', async () => {
    const table = await database.table();
    topic.position = { version: 7 };
    await stops(start(table), 'POSITION_UNREADABLE');
  });
});
