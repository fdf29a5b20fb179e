import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import pg from 'pg';
import { PARTITION_IDS, PARTITIONS_AHEAD } from '../../src/connections/postgres/capture-ddl.ts';
import { startOwnPostgres, type OwnPostgres } from '../support/own-postgres.ts';
import { until as eventually } from '../support/until.ts';
import { openCaptureDatabase, type CaptureDatabase, type CapturedTable } from './captured-table.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { startLogPoller, type LogRun } from './log-run.ts';

const WAITS_AT_GATE = `SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

let server: OwnPostgres;
let database: CaptureDatabase;
let topic: FakeTopic;
let runs: LogRun[];
// A range is dropped once nobody can be writing to it: what others leave open on a server keeps it there.
before(async () => {
  server = await startOwnPostgres();
  database = await openCaptureDatabase(server.postgres.url);
});
after(async () => {
  await database?.drop();
  await server?.stop();
});
beforeEach(() => {
  topic = new FakeTopic();
  runs = [];
});
afterEach(async () => {
  for (const run of runs) await run.drain();
});

function start(table: CapturedTable): LogRun {
  const run = startLogPoller({
    table: table.name,
    source: table.source(),
    log: topic.log(),
    leadership: new FakeLeadership().port(),
    options: { upkeepMs: 20, pollMaxMs: 20 },
  });
  runs.push(run);
  return run;
}

/** The next id is the given one. */
async function jumpTo({ sql, log }: CapturedTable, id: bigint): Promise<void> {
  await sql(`SELECT setval(pg_get_serial_sequence($1, 'change_id'), $2, false)`, [log, String(id)]);
}

/** Suffixes of the partitions that there are, with the number of rows in each. */
async function partitions({ sql, name }: CapturedTable): Promise<Record<string, number>> {
  const found = await sql<{ relname: string }>(
    `SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = $1::regclass ORDER BY length(relname), relname`,
    [`deltaferry.${name}_changes`],
  );
  const counts: Record<string, number> = {};
  for (const { relname } of found) {
    const rows = await sql<{ n: number }>(`SELECT count(*)::int AS n FROM deltaferry.${relname}`);
    counts[relname.slice(`${name}_changes_`.length)] = rows[0]!.n;
  }
  return counts;
}

const insert = ({ sql, table }: CapturedTable, from: number, to = from): Promise<unknown> =>
  sql(`INSERT INTO ${table} SELECT n, 'Ann', n FROM generate_series($1::int, $2) n`, [from, to]);
const keys = (): number[] => topic.changes.map(({ key }) => Number(key)).sort((a, b) => a - b);
const upTo = (n: number): number[] => Array.from({ length: n }, (_, at) => at + 1);

/** Writers in a loop beside the work; the longest that one of them took, milliseconds. */
async function longestWrite(table: CapturedTable, work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let done = false;
  const session = await table.session();
  const writing = (async () => {
    for (let n = 0; !done; n++) {
      const begun = performance.now();
      await session.query(`INSERT INTO ${table.table} VALUES ($1, 'beside', 1)`, [1_000_000 + n]);
      longest = Math.max(longest, performance.now() - begun);
    }
  })();
  try {
    await work();
  } finally {
    done = true;
    await writing;
  }
  return longest;
}

describe('log partitions', () => {
  it('a range that all ids have been taken from is dropped once it is acknowledged, new ones are made ahead', async () => {
    const table = await database.table();
    await insert(table, 1, 3);
    const run = start(table);
    await until(() => run.facts.length > 2, 'partitions were looked after');
    assert.deepEqual(Object.keys(await partitions(table)), ['0', '1', '2', '3', 'default']);
    await jumpTo(table, PARTITION_IDS - 1n);
    await insert(table, 4, 6);
    await until(() => keys().length === 6, 'published');
    await untilPartitions(table, { 1: 2, 2: 0, 3: 0, 4: 0, default: 0 });
    assert.deepEqual(keys(), upTo(6));
    assert.ok((run.facts.at(-1)?.bytes ?? 0) > 0);
  });

  it('what a stopped poller has not acknowledged is kept, however long it is away', async () => {
    const table = await database.table();
    const source = table.source();
    const before = await source.snapshot(null);
    await insert(table, 1, 3);
    await jumpTo(table, PARTITION_IDS);
    await insert(table, 4, 6);
    for (let n = 0; n < 3; n++) await source.upkeep(before);
    assert.deepEqual(await partitions(table), { 0: 3, 1: 3, 2: 0, 3: 0, 4: 0, default: 0 });
    start(table);
    await until(() => keys().length === 6, 'published');
    await untilPartitions(table, { 1: 3, 2: 0, 3: 0, 4: 0, default: 0 });
  });

  it('what a load under way may have to look up is kept, until it has ended', async () => {
    const table = await database.table();
    await insert(table, 1);
    await table.sql(
      `INSERT INTO deltaferry.loads (id, name, target, topic, phase, captured) VALUES ($1, $1, $1, 't', 'snapshot', true)`,
      [table.name],
    );
    const run = start(table);
    const looks = async (): Promise<void> => {
      const seen = run.facts.length;
      await until(() => run.facts.length > seen + 4, 'partitions were looked after');
    };
    await jumpTo(table, PARTITION_IDS);
    await insert(table, 2);
    await until(() => keys().length === 2, 'published');
    await looks();
    assert.equal((await partitions(table))['0'], 1, 'it has not chosen its position yet');
    await table.sql('UPDATE deltaferry.loads SET log_position = pg_current_snapshot() WHERE id = $1', [
      table.name,
    ]);
    await untilPartitions(table, { 1: 1, 2: 0, 3: 0, 4: 0, default: 0 });
    await insert(table, 3);
    await jumpTo(table, PARTITION_IDS * 2n);
    await insert(table, 4);
    await until(() => keys().length === 4, 'published');
    await looks();
    assert.equal((await partitions(table))['1'], 2, 'what came after its position');
    await table.sql(`UPDATE deltaferry.loads SET phase = 'live' WHERE id = $1`, [table.name]);
    await untilPartitions(table, { 2: 1, 3: 0, 4: 0, 5: 0, default: 0 });
  });

  it('a range that an older transaction still writes to stays, its writers are not held up, nothing is lost', async () => {
    const table = await database.table();
    const older = await table.session();
    await older.query('BEGIN');
    await older.query(`INSERT INTO ${table.table} VALUES (1, 'older', 1)`);
    await jumpTo(table, PARTITION_IDS);
    const run = start(table);
    const longest = await longestWrite(table, async () => {
      await insert(table, 2);
      await until(() => keys().includes(2), 'later transactions are published');
      const looks = run.facts.length;
      await until(() => run.facts.length > looks + 20, 'many attempts to drop it');
      assert.equal(
        (await partitions(table))['0'],
        0,
        'it is still there, and what is in it cannot be seen yet',
      );
      await older.query(`INSERT INTO ${table.table} VALUES (3, 'older', 1)`);
      await older.query('COMMIT');
      await until(() => keys().includes(1) && keys().includes(3), 'its changes are published');
    });
    await untilPartitions(table, null, (found) => !('0' in found));
    assert.ok(longest < 1_000, `a writer waited ${longest} ms`);
  });

  it('a row that is committed but not acknowledged keeps its range, also where ids and snapshots say otherwise', async () => {
    const table = await database.table();
    const source = table.source();
    await insert(table, 1);
    await jumpTo(table, PARTITION_IDS);
    await insert(table, 2);
    // The server has transactions of its own, too.
    for (let looks = 0; looks < 100 && '0' in (await partitions(table)); looks++)
      await source.upkeep(await source.snapshot(null));
    assert.equal('0' in (await partitions(table)), false);
    // Somebody turned the sequence back: rows come into ranges that had none to come.
    await jumpTo(table, PARTITION_IDS * 2n);
    await insert(table, 3);
    await source.upkeep('1:1:');
    await jumpTo(table, PARTITION_IDS + 10n);
    await insert(table, 4);
    const [last] = await table.sql<{ xid: string }>(`SELECT xid::text FROM ${table.log} WHERE key = '4'`);
    // Sees everything before that row.
    await source.upkeep(`${last!.xid}:${last!.xid}:`);
    assert.equal((await partitions(table))['1'], 2);
  });

  it('a range that another replica has dropped meanwhile is nobody’s any more', async () => {
    const table = await database.table();
    const [one, other] = [table.source(), table.source()];
    await insert(table, 1);
    await jumpTo(table, PARTITION_IDS);
    await insert(table, 2);
    // The first knows that the range is used up, and cannot drop it yet.
    await one.upkeep('1:1:');
    for (let looks = 0; looks < 100 && '0' in (await partitions(table)); looks++)
      await other.upkeep(await other.snapshot(null));
    assert.equal('0' in (await partitions(table)), false);
    await one.upkeep(await one.snapshot(null));
    await jumpTo(table, PARTITION_IDS * 2n);
    await insert(table, 3);
    for (let looks = 0; looks < 100 && '1' in (await partitions(table)); looks++)
      await one.upkeep(await one.snapshot(null));
    assert.deepEqual(await partitions(table), { 2: 1, 3: 0, 4: 0, 5: 0, default: 0 });
  });

  it('ids beyond every range: nothing fails, all is published, ranges are made again and the default is emptied', async () => {
    const table = await database.table();
    await jumpTo(table, PARTITION_IDS * 50n - 2n);
    await insert(table, 1, 5);
    assert.deepEqual(await partitions(table), { 0: 0, 1: 0, 2: 0, 3: 0, default: 5 });
    start(table);
    const longest = await longestWrite(table, async () => {
      await until(() => [1, 2, 3, 4, 5].every((key) => keys().includes(key)), 'published');
    });
    await untilPartitions(table, null, (found) => '50' in found && found['default'] === 0 && !('0' in found));
    assert.ok(longest < 1_000, `a writer waited ${longest} ms`);
    await insert(table, 6, 8);
    const written = await table.sql<{ key: string }>(`SELECT emp_id AS key FROM ${table.table}`);
    await until(() => topic.changes.length >= written.length, 'published');
    assert.deepEqual(
      keys(),
      written.map(({ key }) => Number(key)).sort((a, b) => a - b),
    );
  });

  it('rows of the default that are not acknowledged are carried over to their range as they were', async () => {
    const table = await database.table();
    const source = table.source();
    await jumpTo(table, PARTITION_IDS * 50n);
    await insert(table, 1, 2);
    const acknowledged = await source.snapshot(null);
    await insert(table, 3, 5);
    const logged = (): Promise<unknown[]> =>
      table.sql(
        `SELECT change_id, xid::text, op::text, key, before::text, after::text, changed_at FROM ${table.log} WHERE key::int > 2 ORDER BY 1`,
      );
    const before = await logged();
    assert.equal(before.length, 3);
    await source.upkeep(acknowledged);
    const found = await partitions(table);
    assert.deepEqual({ default: found['default'], 50: found['50'] }, { default: 0, 50: 3 });
    assert.deepEqual(await logged(), before);
  });

  it('rows that a former leader carries over just as a large window begins are in the window', async (context) => {
    const table = await database.table();
    await jumpTo(table, PARTITION_IDS * 50n);
    const [leader, former] = [table.source({ smallWindowRows: 1 }), table.source()];
    const from = await leader.snapshot(null);
    await insert(table, 1, 3);
    const to = await leader.snapshot(null);
    // The former leader has emptied the default partition, and not committed, when the window begins.
    const emptied = Promise.withResolvers<void>();
    const mayCommit = Promise.withResolvers<void>();
    const ask = pg.Client.prototype.query as (this: pg.Client, ...given: unknown[]) => unknown;
    const carriers = new Set<pg.Client>();
    const upkeeps: Promise<unknown>[] = [];
    context.mock.method(pg.Client.prototype, 'query', function (this: pg.Client, ...given: unknown[]) {
      const text = typeof given[0] === 'string' ? given[0] : '';
      if (text.startsWith('TRUNCATE')) carriers.add(this);
      if (text.startsWith('BEGIN ISOLATION LEVEL REPEATABLE READ')) {
        upkeeps.push(former.upkeep(from));
        return emptied.promise.then(() => ask.apply(this, given));
      }
      if (text !== 'COMMIT' || !carriers.has(this)) return ask.apply(this, given);
      emptied.resolve();
      return mayCommit.promise.then(() => ask.apply(this, given));
    });

    const reading = (async () => {
      const found: string[] = [];
      for await (const page of leader.read({ from, to, after: 0n }, new AbortController().signal))
        found.push(...page.changes.map(({ key }) => key));
      return found;
    })();
    await eventually('the window to wait for the former leader', async () => {
      const waiting = await table.sql(
        `SELECT FROM pg_locks WHERE NOT granted AND relation = 'deltaferry.${table.name}_changes_default'::regclass`,
      );
      return waiting.length === 1;
    });
    mayCommit.resolve();
    await Promise.all(upkeeps);
    assert.deepEqual(await reading, ['1', '2', '3']);
    assert.equal((await partitions(table))['50'], 3, 'they were carried over');
  });

  it('a long statement that runs past the ranges it knows does not fail because others are made meanwhile', async () => {
    const table = await database.table();
    const ranges = PARTITION_IDS * BigInt(PARTITIONS_AHEAD);
    await jumpTo(table, ranges - 5n);
    const gate = await table.session();
    await gate.query('SELECT pg_advisory_lock(1)');
    const session = await table.session();
    const writing = session.query(
      `INSERT INTO ${table.log} (op, key, after) SELECT 'I', n::text, json_object(ARRAY['emp_id', n::text])
       FROM generate_series(1, 20) n, LATERAL (SELECT CASE n WHEN 3 THEN pg_advisory_xact_lock(1) END) gate`,
    );
    await eventually(
      'the statement to be in the last range that it knows',
      async () => (await table.sql(WAITS_AT_GATE)).length === 1,
    );
    const run = start(table);
    await until(() => run.facts.length > 3, 'partitions are looked after meanwhile');
    await gate.query('SELECT pg_advisory_unlock(1)');
    await writing;
    await until(() => keys().length === 20, 'published');
    await untilPartitions(table, null, (found) => '4' in found && found['default'] === 0);
    assert.deepEqual(keys(), upTo(20));
  });

  it('says how old the oldest open transaction is', async () => {
    const table = await database.table();
    const run = start(table);
    await until(() => run.facts.length > 0, 'looked');
    const open = await table.session();
    await open.query('BEGIN');
    await open.query(`INSERT INTO ${table.table} VALUES (1, 'open', 1)`);
    await until(() => (run.facts.at(-1)?.oldestTransactionMs ?? 0) > 100, 'it grows old');
    await open.query('COMMIT');
    await until(() => run.facts.at(-1)?.oldestTransactionMs === 0, 'it is gone', 20_000);
  });
});

async function untilPartitions(
  table: CapturedTable,
  expected: Record<string, number> | null,
  fits?: (found: Record<string, number>) => boolean,
): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const found = await partitions(table).catch(() => ({}));
    if (fits === undefined ? JSON.stringify(found) === JSON.stringify(expected) : fits(found)) return;
    if (performance.now() > deadline) assert.deepEqual(found, expected);
  }
}
