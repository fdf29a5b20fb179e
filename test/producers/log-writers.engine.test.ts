import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Change } from '../../src/change/change.ts';
import { PARTITION_IDS } from '../../src/connections/postgres/capture-ddl.ts';
import { openCaptureDatabase, type CaptureDatabase, type CapturedTable } from './captured-table.ts';
import { FakeLeadership, until } from './fake-log.ts';
import { startLogPoller } from './log-run.ts';
import { openLogTopics, type LogTopics } from './log-topics.ts';

/** Longer by choice: DELTAFERRY_WRITERS_MS=60000. */
const WRITE_MS = Number(process.env['DELTAFERRY_WRITERS_MS'] ?? 10_000);
const WRITERS = 16;
const KEYS = 1_500;

describe('log poller: many writers', () => {
  let database: CaptureDatabase;
  let topics: LogTopics;
  before(async () => {
    database = await openCaptureDatabase();
    topics = await openLogTopics('log-writers');
  });
  after(async () => {
    await topics?.drop();
    await database?.drop();
  });

  // What a user would lose: a change, or the order of two of them, wherever two transactions overlapped.
  it('16 writers with long transactions: every committed change exactly once, and per key in order', async () => {
    const table = await database.table();
    const topic = await topics.of(table.mapping);
    const run = startLogPoller({
      table: table.name,
      source: table.source({ pageChanges: 50, smallWindowRows: 20 }),
      log: topic.log(),
      leadership: new FakeLeadership().port(),
      options: { maxBatchChanges: 100, upkeepMs: 300 },
    });
    try {
      await table.sql('CREATE SEQUENCE tags');
      const end = performance.now() + WRITE_MS;
      const stop = (): boolean => performance.now() > end;
      const sessions = await Promise.all(Array.from({ length: WRITERS }, () => table.session()));
      const hurry = hurryThroughPartitions(table, stop);
      const committed = (
        await Promise.all(
          sessions.map((session, index) => write(session, table, randomFrom(index + 1), stop)),
        )
      ).flat();
      const ranges = await hurry;
      const sent = (): number => run.published.reduce((sum, { changes }) => sum + changes, 0);
      await until(
        () => sent() >= committed.length,
        `${committed.length} changes, ${sent()} published`,
        60_000,
      );
      const states = run.states.map(({ name }) => name);
      await run.drain();

      const published = await topic.changes();
      assertExactlyOnce(published, committed);
      const { keys, outOfXidOrder } = assertWalks(published, table, await currentRows(table));
      const longest = Math.max(...committed.map(({ openMs }) => openMs));
      const facts = run.facts.at(-1);
      const seen = {
        changes: committed.length,
        keys,
        outOfXidOrder,
        longest: Math.round(longest),
        ranges,
        partitions: facts?.partitions,
        transactions: run.published.length,
      };
      console.log(JSON.stringify(seen));
      // The writers earn their name: otherwise the checks above say nothing.
      assert.ok(
        committed.length > WRITE_MS / 10 && outOfXidOrder > 10 && longest > 1_000,
        JSON.stringify(seen),
      );
      assert.ok(
        run.facts.some(({ oldestTransactionMs }) => oldestTransactionMs > 300),
        'open transactions were seen',
      );
      assert.deepEqual(states, ['standby', 'starting', 'polling']);
    } finally {
      await run.drain();
    }
  });
});

interface Committed {
  readonly xid: string;
  readonly key: number;
  readonly before: string | null;
  readonly after: string | null;
  readonly openMs: number;
}

/** Transactions of any length on any keys, until told to stop; what each of them changed once it is committed. */
async function write(
  session: pg.Client,
  table: CapturedTable,
  random: () => number,
  stop: () => boolean,
): Promise<Committed[]> {
  const committed: Committed[] = [];
  await session.query(`SET lock_timeout = '300ms'`);
  while (!stop()) {
    const long = random() < 0.03;
    const begun = performance.now();
    const states = new Map<number, { readonly before: string | null; after: string | null }>();
    try {
      await session.query('BEGIN');
      const xid = await session.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
      const steps = 1 + Math.floor(random() * (long ? 12 : 5));
      for (let step = 0; step < steps; step++) {
        if (long) await delay(random() * 500);
        const savepoint = random() < 0.2;
        if (savepoint) await session.query('SAVEPOINT here');
        const changed = await change(session, table, random);
        if (savepoint && random() < 0.5) {
          await session.query('ROLLBACK TO here');
          continue;
        }
        for (const { key, before, after } of changed) {
          const state = states.get(key);
          if (state === undefined) states.set(key, { before, after });
          else state.after = after;
        }
      }
      if (random() < 0.15) {
        await session.query('ROLLBACK');
        continue;
      }
      await session.query('COMMIT');
      const openMs = performance.now() - begun;
      for (const [key, { before, after }] of states)
        if (before !== after) committed.push({ xid: xid.rows[0]!.xid, key, before, after, openMs });
    } catch (error) {
      // Another writer's lock: the transaction is given up.
      if (!['55P03', '40P01', '23505'].includes(String((error as { code?: unknown }).code))) throw error;
      await session.query('ROLLBACK');
    }
  }
  return committed;
}

/** One statement. Every state of a key has a name of its own. */
async function change(
  session: pg.Client,
  { table }: CapturedTable,
  random: () => number,
): Promise<{ key: number; before: string | null; after: string | null }[]> {
  const first = 1 + Math.floor(random() * KEYS);
  const last = random() < 0.1 ? first + Math.floor(random() * 20) : first;
  const kind = random();
  if (kind < 0.3) {
    const { rows } = await session.query<{ key: string; after: string }>(
      `INSERT INTO ${table} SELECT n, 'tag ' || nextval('tags'), n FROM generate_series($1::int, $2) n
       WHERE NOT EXISTS (SELECT FROM ${table} WHERE emp_id = n) ON CONFLICT DO NOTHING RETURNING emp_id AS key, name AS after`,
      [first, last],
    );
    return rows.map(({ key, after }) => ({ key: Number(key), before: null, after }));
  }
  // Locked first: an UPDATE that had to wait would otherwise return the name that it saw before it waited.
  const locked = await session.query<{ key: string; name: string }>(
    `SELECT emp_id AS key, name FROM ${table} WHERE emp_id BETWEEN $1 AND $2 ORDER BY emp_id FOR UPDATE`,
    [first, last],
  );
  const names = new Map(locked.rows.map(({ key, name }) => [key, name]));
  const keys = [...names.keys()];
  const { rows } =
    kind < 0.45
      ? await session.query<{ key: string; after: string | null }>(
          `DELETE FROM ${table} WHERE emp_id = ANY ($1) RETURNING emp_id AS key, NULL::text AS after`,
          [keys],
        )
      : await session.query<{ key: string; after: string | null }>(
          `UPDATE ${table} SET name = 'tag ' || nextval('tags') WHERE emp_id = ANY ($1) RETURNING emp_id AS key, name AS after`,
          [keys],
        );
  return rows.map(({ key, after }) => ({ key: Number(key), before: names.get(key)!, after }));
}

/** Ids jump to the end of their partition again and again, so that partitions are filled, made and dropped all the time. */
async function hurryThroughPartitions(table: CapturedTable, stop: () => boolean): Promise<number> {
  const [row] = await table.sql<{ name: string }>(
    `SELECT pg_get_serial_sequence('${table.log}', 'change_id') AS name`,
  );
  let jumps = 0;
  while (!stop()) {
    await delay(400);
    await table.sql(
      `SELECT setval('${row!.name}', ((last_value / ${PARTITION_IDS}) + 1) * ${PARTITION_IDS} - 30) FROM ${row!.name}`,
    );
    jumps++;
  }
  return jumps;
}

async function currentRows({ sql, table }: CapturedTable): Promise<Map<string, string>> {
  const rows = await sql<{ key: string; name: string }>(`SELECT emp_id AS key, name FROM ${table}`);
  return new Map(rows.map(({ key, name }) => [key, name]));
}

function assertExactlyOnce(
  published: ReadonlyMap<number, readonly Change[]>,
  committed: readonly Committed[],
): void {
  const counts = new Map<string, number>();
  const count = (text: string, by: number): void => void counts.set(text, (counts.get(text) ?? 0) + by);
  for (const { xid, key, before, after } of committed) count(`${xid} ${key} ${before}→${after}`, -1);
  for (const { tx, key, before, after } of [...published.values()].flat())
    count(`${tx} ${key} ${String(before?.[1] ?? null)}→${String(after?.[1] ?? null)}`, 1);
  const off = [...counts].filter(([, each]) => each !== 0);
  assert.deepEqual(off.slice(0, 10), [], `${off.length} changes are not one record`);
}

/** Each change of a key begins where the one before it ended; the last one is what the table holds. */
function assertWalks(
  published: ReadonlyMap<number, readonly Change[]>,
  table: CapturedTable,
  current: ReadonlyMap<string, string>,
): { readonly keys: number; readonly outOfXidOrder: number } {
  const last = new Map<string, { name: string | null; tx: number }>();
  let outOfXidOrder = 0;
  for (const change of [...published.values()].flat()) {
    const before = change.before === null ? null : String(change.before[1]);
    const after = change.after === null ? null : String(change.after[1]);
    const previous = last.get(change.key) ?? { name: null, tx: 0 };
    assert.equal(before, previous.name, `key ${change.key} of ${table.name}, transaction ${change.tx}`);
    if (Number(change.tx) < previous.tx) outOfXidOrder++;
    last.set(change.key, { name: after, tx: Number(change.tx) });
  }
  for (const [key, { name }] of last) assert.equal(name, current.get(key) ?? null, `key ${key} at the end`);
  for (const key of current.keys()) assert.ok(last.has(key), `key ${key} was published`);
  return { keys: last.size, outOfXidOrder };
}

/** The same choices in every run; how they interleave is the machine's own affair. */
function randomFrom(seed: number): () => number {
  let state = seed * 2_654_435_769;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
