import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type pg from 'pg';
import type { TableMapping } from '../../../src/change/table.ts';
import { createCaptureSql, createLogSql } from '../../../src/connections/postgres/capture-ddl.ts';
import { createCapturedWay } from '../../../src/connections/postgres/captured-way.ts';
import { createReconcile, type ReconcileOptions } from '../../../src/connections/postgres/load-reconcile.ts';
import { openPool } from '../../../src/connections/postgres/pool.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { SEES_NOTHING } from '../../../src/flow/log-position.ts';
import type { Load, OnCompared, Reconciled } from '../../../src/ports/load.ts';
import { seededRandom } from '../../support/change-generator.ts';
import { until } from '../../support/until.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { change, createEmployees, EMPLOYEES, openApplier, type Applier } from './employees.ts';
import { UNSEEN } from '../../support/load-seen.ts';

/**
 * A captured table, a model of the Delta table, and a load between them. `merge` is what the way to Delta does: it
 * gives the model what the log has.
 */
interface Both {
  readonly table: string;
  readonly delta: Map<number, string>;
  readonly applier: Applier;
  sql(text: string, values?: readonly unknown[]): Promise<Record<string, string | null>[]>;
  session(): Promise<pg.PoolClient>;
  /** A write that nobody captures: what the two sides differ in. */
  unseen(...statements: readonly (readonly [text: string, ...values: unknown[]])[]): Promise<void>;
  merge(): Promise<void>;
  /** Chooses the log position; then what the load's version holds is what the model holds. */
  position(): Promise<string>;
  /** The load of what the model holds now. `at`: the time of its version, microseconds; default now. */
  load(position: string, at?: number): Promise<Load>;
  reconcile(
    load: Load,
    more?: Partial<ReconcileOptions>,
    onDone?: OnCompared,
    signal?: AbortSignal,
  ): Promise<Reconciled>;
  current(): Promise<Map<number, string>>;
  /** `Ann[-1,0) Bea[0,)`: versions of a key, in order; times are relative to the load's: before, at or after it. */
  shown(emp: number, load: Load): Promise<string>;
}

let database: TestDatabase;
/** Connections of people's own. */
let people: pg.Pool;
before(async () => {
  database = await createDatabase();
  people = openPool({
    url: database.url,
    maxConnections: 40,
    lockTimeoutMs: 200,
    idleInTransactionMs: 60_000,
  });
  await migrate(database.pool);
});
after(async () => {
  await people?.end();
  await database?.drop();
});

let number = 0;

async function both(): Promise<Both> {
  const { pool } = database;
  const table = `both_${++number}`;
  await createEmployees(pool, table);
  const mapping = { ...EMPLOYEES, name: table };
  const target = { table: `public.${table}`, mapping, history: { onDate: 'on_date', offDate: 'off_date' } };
  for (const statement of [...createLogSql(table), ...createCaptureSql(target)]) await pool.query(statement);
  const applier = await openApplier(pool, table, { lockTimeoutMs: 30_000 });
  // As the load does when it begins: what it waits by is there.
  await applier.sink.claim([0], () => 0n);
  const way = createCapturedWay({
    pool,
    name: table,
    mergers: { group: 'merge', topic: table },
    acknowledged: async () => SEES_NOTHING,
  });
  const delta = new Map<number, string>();
  const merged = new Set<string>();
  const sql: Both['sql'] = async (text, values) =>
    (await people.query<Record<string, string | null>>(text.replaceAll('$T', table), [...(values ?? [])]))
      .rows;

  return {
    table,
    delta,
    applier,
    sql,
    session: () => people.connect(),
    async unseen(...statements) {
      const client = await people.connect();
      try {
        await client.query(`BEGIN; SET LOCAL deltaferry.origin = 'unseen'`);
        for (const [text, ...values] of statements) await client.query(text.replaceAll('$T', table), values);
        await client.query('COMMIT');
      } finally {
        client.release();
      }
    },
    async merge() {
      const rows = await sql(
        `SELECT xid || ' ' || key AS id, key, (SELECT l.after ->> 'name' FROM deltaferry.${table}_changes l
           WHERE l.xid = f.xid AND l.key = f.key ORDER BY change_id DESC LIMIT 1) AS name
         FROM (SELECT max(change_id) AS change_id, xid, key FROM deltaferry.${table}_changes GROUP BY xid, key
               HAVING array_agg(before::text ORDER BY before::text) IS DISTINCT FROM array_agg(after::text ORDER BY after::text)) f
         ORDER BY change_id`,
      );
      for (const { id, key, name } of rows) {
        if (merged.has(id!)) continue;
        merged.add(id!);
        if (name === null) delta.delete(Number(key));
        else delta.set(Number(key), name!);
      }
    },
    async position() {
      await sql(
        `INSERT INTO deltaferry.loads (id, name, target, topic, way, phase, captured) VALUES ($1, $1, $1, 't', 'reconcile', 'snapshot', true)`,
        [table],
      );
      return await way.logPosition(table);
    },
    async load(logPosition, at) {
      await sql(
        `CREATE UNLOGGED TABLE deltaferry."load_${table}" AS SELECT emp_id, name, salary FROM $T WITH NO DATA`,
      );
      await sql(
        `INSERT INTO deltaferry."load_${table}" SELECT emp, name, 10.50 FROM unnest($1::bigint[], $2::text[]) AS g(emp, name)`,
        [[...delta.keys()], [...delta.values()]],
      );
      return loadOf(table, logPosition, at ?? (await micros()), delta.size);
    },
    reconcile(load, more = {}, onDone = () => {}, signal = new AbortController().signal) {
      return createReconcile({
        pool,
        mapping,
        origin: 'delta',
        consumers: { group: 'employees-postgres', topic: `changes of ${table} ` },
        keysPerRange: 100,
        ...more,
      })(load, onDone, signal);
    },
    async current() {
      const rows = await sql('SELECT emp_id, name FROM $T WHERE off_date IS NULL');
      return new Map(rows.map(({ emp_id, name }) => [Number(emp_id), name!]));
    },
    async shown(emp, load) {
      const sign = (column: string) =>
        `sign((extract(epoch FROM ${column}) * 1000000)::bigint - ${load.pinned!.ts})`;
      const rows = await sql(
        `SELECT name || '[' || ${sign('on_date')} || ',' || coalesce(${sign('off_date')}::text, '') || ')' AS text
         FROM $T WHERE emp_id = $1 ORDER BY on_date`,
        [emp],
      );
      return rows.map(({ text }) => text).join(' ');
    },
  };
}

function loadOf(name: string, logPosition: string, ts: number, rows: number): Load {
  return {
    id: name,
    recordsOf: name,
    name,
    target: name,
    topic: 't',
    source: 'delta',
    way: 'reconcile',
    captured: true,
    logPosition,
    phase: 'handover',
    pinned: { tableId: 'table-1', version: 9, ts, rows },
    startOffsets: null,
    liveOffsets: null,
    endOffsets: null,
    publishedRows: rows,
    rejectedRows: 0,
    appliedRows: rows,
    startedAt: '',
    error: null,
    seen: UNSEEN,
  };
}

async function micros(): Promise<number> {
  const { rows } = await database.pool.query<{ now: string }>(
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now',
  );
  return Number(rows[0]!.now);
}

const FILL = `INSERT INTO $T SELECT n, $3, 10.50, true, clock_timestamp() - interval '1 hour' FROM generate_series($1::int, $2::int) n`;
const END = `UPDATE $T SET off_date = clock_timestamp(), is_active = false WHERE emp_id = $1 AND off_date IS NULL`;
const OPEN = `INSERT INTO $T VALUES ($1, $2, 10.50, true, clock_timestamp(), NULL)`;
const RENAME = `UPDATE $T SET name = $2 WHERE emp_id = $1 AND off_date IS NULL`;

describe('a load compared with a captured table', () => {
  it('leaves a key alone that is changed in the moment between looking and writing', async () => {
    const site = await both();
    await site.unseen([FILL, 1, 6, 'ours']);
    for (const emp of [1, 2, 3, 4, 5, 7, 8]) site.delta.set(emp, 'theirs');
    const load = await site.load(await site.position());
    let looks = 0;
    const done = await site.reconcile(load, {
      keysPerRange: 6,
      async onLooked() {
        looks += 1;
        if (looks === 2) {
          // Came and went, and is all of its range: Delta hears of both, and has no row in the end.
          await site.sql(OPEN, [8, 'person']);
          await site.sql('DELETE FROM $T WHERE emp_id = 8');
        }
        if (looks > 1) return;
        await site.sql(RENAME, [1, 'person']);
        await site.sql(END, [2]);
        await site.sql('DELETE FROM $T WHERE emp_id = 3');
        await site.sql(END, [6]);
        await site.sql(OPEN, [6, 'person']);
      },
    });
    await site.merge();
    assert.deepEqual(
      await site.current(),
      new Map([1, 4, 5, 6, 7].map((emp) => [emp, site.delta.get(emp)!])),
    );
    assert.deepEqual(site.delta, await site.current());
    assert.equal(await site.shown(1, load), 'person[-1,)');
    assert.equal(await site.shown(4, load), 'ours[-1,0) theirs[0,)');
    assert.deepEqual(done, { added: 1, corrected: 2, ended: 0 });
    assert.ok(looks >= 4, 'a range was not done again');
  });

  it('waits for open transactions that have written keys, and for nobody else', async () => {
    const site = await both();
    await site.unseen([FILL, 1, 400, 'ours']);
    for (let emp = 1; emp <= 400; emp++) site.delta.set(emp, emp % 50 === 0 ? 'theirs' : 'ours');
    for (const emp of [1001, 1002, 1003]) site.delta.set(emp, 'theirs');
    const [kept, undone, bystander] = await Promise.all([site.session(), site.session(), site.session()]);
    try {
      for (const client of [kept, undone, bystander]) await client.query('BEGIN');
      const write = (client: pg.PoolClient, text: string, ...values: unknown[]) =>
        client.query(text.replaceAll('$T', site.table), values);
      await write(kept, RENAME, 50, 'person');
      const position = await site.position();
      const load = await site.load(position);
      await write(kept, OPEN, 1001, 'person');
      await write(undone, RENAME, 150, 'never');
      await write(undone, OPEN, 1002, 'never');
      await write(bystander, RENAME, 7, 'person');
      let held = -1;
      const running = site.reconcile(load, {}, (_, heldUp) => (held = heldUp));
      await until('two ranges to be held up', () => held === 3);
      assert.equal((await site.current()).get(250), 'theirs', 'the ranges of others are done');
      await undone.query('ROLLBACK');
      await until('one range to be held up', () => held < 3);
      await kept.query('COMMIT');
      const done = await running;
      await bystander.query('COMMIT');
      await site.merge();
      assert.deepEqual(await site.current(), site.delta);
      assert.equal(site.delta.get(50), 'person');
      assert.equal(site.delta.get(1001), 'person');
      assert.equal(site.delta.get(7), 'person');
      assert.equal(await site.shown(150, load), 'ours[-1,0) theirs[0,)');
      assert.deepEqual(done, { added: 2, corrected: 7, ended: 0 });
    } finally {
      for (const client of [kept, undone, bystander]) client.release(true);
    }
  });

  it('splits no version because a clock here is ahead of Delta’s, and corrects what was changed and changed back', async () => {
    const site = await both();
    await site.unseen([FILL, 1, 6, 'ours']);
    for (let emp = 1; emp <= 6; emp++) site.delta.set(emp, 'ours');
    const ahead = await micros();
    await site.sql(
      `WITH ended AS (UPDATE $T SET off_date = now(), is_active = false WHERE emp_id = 1 RETURNING emp_id)
       INSERT INTO $T SELECT emp_id, 'person', 10.50, true, now() FROM ended`,
    );
    await site.sql(END, [2]);
    await site.sql(OPEN, [9, 'person']);
    await site.merge();
    // After the version Delta changes 3 to what it is here, and 4 to something else and back.
    site.delta.set(3, 'theirs');
    site.delta.set(4, 'theirs');
    site.delta.set(5, 'theirs');
    const position = await site.position();
    const load = await site.load(position, ahead);
    const told = (emp: number, name: string, after: number) => change(emp, BigInt(ahead + after), name);
    await site.applier.apply(told(3, 'ours', 1e6), told(4, 'other', 1e6), told(4, 'theirs', 2e6));
    // Nothing of this is published: it is as if nobody had been there.
    const client = await site.session();
    await client.query('BEGIN');
    for (const name of ['x', 'ours']) await client.query(RENAME.replaceAll('$T', site.table), [5, name]);
    await client.query('COMMIT');
    client.release();
    await site.reconcile(load);
    assert.equal(await site.shown(1, load), 'ours[-1,1) person[1,)');
    assert.equal(await site.shown(2, load), 'ours[-1,1)');
    assert.equal(await site.shown(9, load), 'person[1,)');
    assert.equal(await site.shown(3, load), 'ours[-1,0) theirs[0,1) ours[1,)');
    assert.equal(await site.shown(4, load), 'ours[-1,0) theirs[0,1) other[1,1) theirs[1,)');
    assert.equal(await site.shown(5, load), 'ours[-1,0) theirs[0,)');
  });

  it('knows the keys of several columns, and what JSON escapes in them', async () => {
    const { pool } = database;
    const mapping: TableMapping = {
      name: 'offices',
      key: ['city', 'opened'],
      columns: [
        { name: 'opened', type: { name: 'date' } },
        { name: 'city', type: { name: 'varchar', length: 20 } },
        { name: 'phone', type: { name: 'text' } },
      ],
    };
    await pool.query(
      `CREATE TABLE offices (opened date, city varchar(20), phone text, is_active boolean, on_date timestamptz, off_date timestamptz,
                             PRIMARY KEY (city, opened, on_date))`,
    );
    await pool.query('CREATE UNIQUE INDEX ON offices (city, opened) WHERE off_date IS NULL');
    const cities = ['a"b', 'tab\there', 'Zürich', 'back\\slash', '😀', '', '\u0001', '\u007f'];
    await pool.query(
      `INSERT INTO offices SELECT '2020-02-29', city, 'ours', true, now() - interval '1 hour', NULL FROM unnest($1::text[]) city`,
      [cities],
    );
    const target = {
      table: 'public.offices',
      mapping,
      history: { onDate: 'on_date', offDate: 'off_date' },
    };
    for (const statement of [...createLogSql('offices'), ...createCaptureSql(target)])
      await pool.query(statement);
    await pool.query(
      `CREATE UNLOGGED TABLE deltaferry.load_offices AS SELECT opened, city, 'theirs' AS phone FROM offices`,
    );
    const logPosition = (await pool.query<{ now: string }>('SELECT pg_current_snapshot()::text AS now'))
      .rows[0]!.now;
    // In formats of their own.
    await people.query(`BEGIN; SET LOCAL DateStyle = 'German'; UPDATE offices SET phone = 'person'; COMMIT`);
    const done = await createReconcile({
      pool,
      mapping,
      origin: 'delta',
      consumers: { group: 'employees-postgres', topic: 'none' },
    })(loadOf('offices', logPosition, await micros(), cities.length), () => {}, new AbortController().signal);
    assert.deepEqual(done, { added: 0, corrected: 0, ended: 0 });
  });

  const seed = Number(process.env['TEST_SEED'] ?? Date.now() % 1_000_000);
  it(`whatever people write meanwhile: both sides are equal in the end (seed ${seed})`, async () => {
    const site = await both();
    const random = seededRandom(seed);
    const below = (limit: number): number => Math.floor(random() * limit);
    const KEYS = 1000;
    /** Keys below it are changed in Delta meanwhile, the others by people. */
    const LIVE = 200;
    await site.unseen([FILL, 0, KEYS - 1, 'A']);
    for (let emp = 0; emp < KEYS; emp++) site.delta.set(emp, 'A');

    let written = 0;
    const counts = { committed: 0, undone: 0, refused: 0, open: 0 };
    async function writes(client: pg.PoolClient): Promise<void> {
      for (let n = below(4); n >= 0; n--) {
        const emp = LIVE + below(KEYS - LIVE);
        const name = `p${++written}`;
        const steps: readonly (readonly [string, ...unknown[]])[] = (
          [
            [
              [END, emp],
              [OPEN, emp, name],
            ],
            [[RENAME, emp, name]],
            [[END, emp]],
            [['DELETE FROM $T WHERE emp_id = $1', emp]],
            [[OPEN, emp, name]],
            [
              [
                `WITH was AS (SELECT name FROM $T WHERE emp_id = $1 AND off_date IS NULL) UPDATE $T SET name = name || '.' WHERE emp_id = $1 AND off_date IS NULL`,
                emp,
              ],
              [`UPDATE $T SET name = left(name, -1) WHERE emp_id = $1 AND off_date IS NULL`, emp],
            ],
          ] as const
        )[below(6)]!;
        for (const [text, ...values] of steps) await client.query(text.replaceAll('$T', site.table), values);
      }
    }
    /** One transaction of somebody's; `before`: what it waits for before it ends. */
    async function person(before: () => Promise<unknown> = async () => {}): Promise<void> {
      const client = await site.session();
      const commits = random() < 0.8;
      try {
        await client.query('BEGIN');
        await writes(client);
        await before();
        await client.query(commits ? 'COMMIT' : 'ROLLBACK');
        counts[commits ? 'committed' : 'undone'] += 1;
        client.release();
      } catch {
        counts.refused += 1;
        client.release(true);
      }
    }
    const some = async (transactions: number): Promise<void> => {
      for (let n = 0; n < transactions; n++) await person();
    };

    await some(40);
    await site.merge();
    // What nobody tells: the two sides differ in a part of the keys.
    const drift = Array.from({ length: 300 }, () => {
      const emp = below(KEYS);
      return (
        [
          [RENAME, emp, 'drift'],
          ['DELETE FROM $T WHERE emp_id = $1', emp],
          [END, emp],
        ] as const
      )[below(3)]!;
    });
    await site.unseen(...drift, [FILL, KEYS, KEYS + 19, 'unknown to Delta']);
    const ends: (() => void)[] = [];
    const open = Array.from({ length: 2 }, () => {
      counts.open += 1;
      return person(() => new Promise<void>((resolve) => ends.push(resolve)));
    });
    await until('transactions to be open', () => ends.length + counts.refused >= 2);
    const position = await site.position();
    await some(20);
    await site.merge();
    const load = await site.load(position);
    await some(20);

    const edited = await site.sql(
      `SELECT key FROM deltaferry.$T_changes WHERE NOT pg_visible_in_snapshot(xid, $1::pg_snapshot) GROUP BY xid, key
       HAVING array_agg(before::text ORDER BY before::text) IS DISTINCT FROM array_agg(after::text ORDER BY after::text)`,
      [position],
    );
    let looks = 0;
    const late: Promise<unknown>[] = [];
    let live = Promise.resolve<unknown>(null);
    const stop = new AbortController();
    const ways = {
      keysPerRange: 70,
      async onLooked(): Promise<void> {
        looks += 1;
        await some(2);
        if (looks === 6) ends.pop()?.();
        if (looks === 8) stop.abort(new Error('stopped'));
        if (looks === 12) for (const end of ends) end();
        late.push(person(), person());
        const ts = await micros();
        const told = [below(LIVE), below(LIVE)]
          .filter((emp, n, all) => all.indexOf(emp) === n)
          .map((emp) => change(emp, BigInt(ts), `live${looks}`));
        for (const { key, after } of told) site.delta.set(Number(key), String(after![1]));
        live = live.then(() => site.applier.apply(...told));
      },
    };
    // Stopped in the midst of it, and begun again.
    await assert.rejects(
      site.reconcile(load, ways, () => {}, stop.signal),
      /stopped/,
    );
    const done = await site.reconcile(load, ways);
    for (const end of ends) end();
    await Promise.all([...open, ...late, live]);
    await some(10);
    await site.merge();

    const differing = (one: Map<number, string>, other: Map<number, string>): unknown[] =>
      [...one].flatMap(([emp, name]) =>
        other.get(emp) === name ? [] : [{ emp, name, other: other.get(emp) }],
      );
    const current = await site.current();
    assert.deepEqual(differing(site.delta, current), [], 'in Delta and not here');
    assert.deepEqual(differing(current, site.delta), [], 'here and not in Delta');
    const overlapping = await site.sql(
      `SELECT a.emp_id FROM $T a JOIN $T b USING (emp_id) WHERE a.on_date < b.on_date AND coalesce(a.off_date, 'infinity') > b.on_date`,
    );
    assert.deepEqual(overlapping, []);
    const touched = await site.sql(
      `SELECT emp_id FROM $T, (SELECT to_timestamp(0) + $2::bigint * interval '1 microsecond' AS ts) load
       WHERE emp_id::text = ANY ($1::text[]) AND ts IN (on_date, off_date)`,
      [edited.map(({ key }) => key), load.pinned!.ts],
    );
    assert.deepEqual(touched, [], 'the load wrote keys that people had changed before it looked at them');
    assert.ok(edited.length > 10, `only ${edited.length} keys were changed before the load looked at them`);
    for (const [what, n] of Object.entries({ ...done, ...counts, looks: looks - 14 }))
      assert.ok(n >= (what === 'ended' || what === 'looks' || what === 'refused' ? 0 : 2), `${what}: ${n}`);
  });
});
