import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Change, Row } from '../../../src/change/change.ts';
import { keyOf } from '../../../src/change/key.ts';
import type { TableMapping } from '../../../src/change/table.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { openPool } from '../../../src/connections/postgres/pool.ts';
import { until } from '../../support/until.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { change, createEmployees, EPOCH, openApplier, shown } from './employees.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(async () => await database.drop());

/** Where each row lies and who wrote it: equal before and after means that nothing was written. */
async function fingerprint(table: string): Promise<unknown> {
  return (await database.pool.query(`SELECT ctid::text, xmin::text, t.* FROM ${table} t ORDER BY 1`)).rows;
}

for (const path of ['auto', 'exact'] as const)
  describe(`path ${path}`, () => {
    test('what was applied before costs no write when it comes again', async () => {
      const table = `again_${path}`;
      await createEmployees(database.pool, table);
      const applier = await openApplier(database.pool, table, { path });
      const changes = [
        change(1, 1, 'A'),
        change(1, 5, null),
        change(1, 7, 'B'),
        change(2, 3, null),
        change(3, 4, 'C'),
      ];
      await applier.apply(...changes);
      const first = await fingerprint(table);
      await applier.apply(...changes);
      assert.deepEqual(await fingerprint(table), first);
    });

    test('deletes that end nothing are remembered for the table they belong to, and forgotten once they do', async () => {
      const [table, other] = [`memory_${path}`, `memory_other_${path}`];
      for (const name of [table, other]) await createEmployees(database.pool, name);
      const applier = await openApplier(database.pool, table, { path });
      await applier.apply(change(1, 5, null), change(2, 5, null));
      const foreign = await openApplier(database.pool, other, { path });
      await foreign.apply(change(1, 3, 'A'));
      await applier.apply(change(1, 3, 'A'));
      assert.equal(await shown(database.pool, table, 1), 'A[3,5)');
      assert.equal(await shown(database.pool, other, 1), 'A[3,)');
      const left = await database.pool.query('SELECT key FROM deltaferry.orphan_deletes WHERE target = $1', [
        table,
      ]);
      assert.deepEqual(left.rows, [{ key: '2' }]);
    });

    test('the history may call its own columns otherwise', async () => {
      const table = `named_${path}`;
      await createEmployees(database.pool, table);
      await database.pool.query(
        `ALTER TABLE ${table} RENAME COLUMN on_date TO "valid from"; ALTER TABLE ${table} RENAME COLUMN off_date TO "valid to";
         ALTER TABLE ${table} RENAME COLUMN is_active TO "current?"`,
      );
      const columns = { onDate: 'valid from', offDate: 'valid to', isActive: 'current?' };
      const applier = await openApplier(database.pool, table, { path, columns });
      await applier.apply(change(1, 1, 'A'), change(1, 5, 'B'));
      await applier.apply(change(1, 3, 'late'), change(1, 9, null));
      const { rows } = await database.pool.query(
        `SELECT name, "current?" AS current, "valid to" IS NULL AS open FROM ${table} ORDER BY "valid from"`,
      );
      assert.deepEqual(
        rows,
        ['A', 'late', 'B'].map((name) => ({ name, current: false, open: false })),
      );
    });

    test('a version that people left open with infinity is current', async () => {
      const table = `infinity_${path}`;
      await createEmployees(database.pool, table);
      await database.pool.query(`INSERT INTO ${table} VALUES (1, 'P', 1, true, '-infinity', 'infinity')`);
      const applier = await openApplier(database.pool, table, { path });
      await applier.apply(change(1, 5, 'B'));
      const rows = await database.pool.query(
        `SELECT name, is_active, on_date = '-infinity' AS always, off_date IS NULL AS open FROM ${table} ORDER BY on_date`,
      );
      assert.deepEqual(rows.rows, [
        { name: 'P', is_active: false, always: true, open: false },
        { name: 'B', is_active: true, always: false, open: true },
      ]);
    });

    test('a snapshot row that the table already shows writes nothing; another is an upsert', async () => {
      const table = `snapshot_${path}`;
      await createEmployees(database.pool, table);
      const applier = await openApplier(database.pool, table, { path });
      await applier.apply(change(1, 1, 'A'), change(2, 1, 'A'), change(3, 1, 'A'), change(3, 3, null));
      const first = await fingerprint(table);
      await applier.apply(change(1, 5, 'A', 'snapshot'));
      assert.deepEqual(await fingerprint(table), first);
      await applier.apply(
        change(2, 5, 'B', 'snapshot'),
        change(3, 5, 'A', 'snapshot'),
        change(4, 5, 'A', 'snapshot'),
      );
      assert.equal(await shown(database.pool, table, 1), 'A[1,)');
      assert.equal(await shown(database.pool, table, 2), 'A[1,5) B[5,)');
      assert.equal(await shown(database.pool, table, 3), 'A[1,3) A[5,)');
      assert.equal(await shown(database.pool, table, 4), 'A[5,)');
    });

    test('a late change reads only what lies around it', async () => {
      const table = `long_${path}`;
      await createEmployees(database.pool, table);
      const applier = await openApplier(database.pool, table, { path });
      await applier.apply(...Array.from({ length: 40 }, (_, index) => change(1, index * 10, `v${index}`)));
      await database.pool.query('SELECT pg_stat_reset_single_table_counters($1::regclass)', [table]);
      assert.deepEqual(await applier.apply(change(1, 205, 'late'), change(1, 207, null)), {
        versionsInserted: 1,
        versionsEnded: 1,
        lateKeys: 1,
      });
      const around = await database.pool.query(
        `SELECT name FROM ${table} WHERE on_date BETWEEN to_timestamp(${EPOCH / 1e6}) + interval '195 microseconds'
           AND to_timestamp(${EPOCH / 1e6}) + interval '215 microseconds' ORDER BY on_date`,
      );
      assert.deepEqual(
        around.rows,
        ['v20', 'late', 'v21'].map((name) => ({ name })),
      );
      assert.ok((await shown(database.pool, table, 1)).includes('v20[200,205) late[205,207) v21[210,220)'));
    });

    test('every type, composite keys, names that need quotes, times from year 1 to 9999', async () => {
      const table = `"Odd ""one"" ${path}"."his  tory"`;
      await database.pool.query(`
        CREATE SCHEMA "Odd ""one"" ${path}";
        CREATE TYPE "Odd ""one"" ${path}"."Mood" AS ENUM ('so so', 'good, "very"');
        CREATE TABLE ${table} ("Region" varchar(9) NOT NULL, "the id" uuid NOT NULL, day date NOT NULL, flag boolean, small smallint,
          mid integer, amount numeric(38,10), r real, d double precision, t text, local timestamp, at timestamptz,
          raw bytea, doc jsonb, mood "Odd ""one"" ${path}"."Mood", is_active boolean NOT NULL, on_date timestamptz NOT NULL,
          off_date timestamptz, PRIMARY KEY ("Region", "the id", day, on_date));
        CREATE UNIQUE INDEX ON ${table} ("Region", "the id", day) WHERE off_date IS NULL`);
      const mapping: TableMapping = {
        name: 'odd',
        key: ['Region', 'the id', 'day'],
        columns: [
          { name: 'flag', type: { name: 'boolean' } },
          { name: 'Region', type: { name: 'varchar', length: 9 } },
          { name: 'small', type: { name: 'smallint' } },
          { name: 'mid', type: { name: 'integer' } },
          { name: 'amount', type: { name: 'numeric', precision: 38, scale: 10 } },
          { name: 'r', type: { name: 'real' } },
          { name: 'd', type: { name: 'double precision' } },
          { name: 't', type: { name: 'text' } },
          { name: 'the id', type: { name: 'uuid' } },
          { name: 'local', type: { name: 'timestamp' } },
          { name: 'at', type: { name: 'timestamptz' } },
          { name: 'raw', type: { name: 'bytea' } },
          { name: 'doc', type: { name: 'jsonb' } },
          { name: 'mood', type: { name: 'enum', type: `"Odd ""one"" ${path}"."Mood"` } },
          { name: 'day', type: { name: 'date' } },
        ],
      };
      const id = '123e4567-e89b-42d3-a456-426614174000';
      const text = 'tab\t line\n return\r back\\slash \\N \\. "quotes" {braces,comma} Zoë 😀';
      const full: Row = [
        true,
        'a,"b\\{',
        -32768,
        2147483647,
        '1234567890123456789012345678.0123456789',
        0.1,
        -Infinity,
        text,
        id,
        -1,
        -62135596800000000n,
        Buffer.from([0, 92, 255]),
        `{"k": "\\"\\\\ é"}`,
        'good, "very"',
        -719162,
      ];
      const empty: Row = [
        null,
        'a,"b\\{',
        null,
        null,
        null,
        null,
        null,
        null,
        id,
        null,
        null,
        null,
        null,
        null,
        -719162,
      ];
      const key = keyOf(mapping)(full);
      const of = (ts: Change['ts'], after: Row | null): Change => ({
        ...change(1, 1, 'A'),
        key,
        ts,
        after,
        op: after === null ? 'delete' : 'update',
      });
      const applier = await openApplier(database.pool, table, { path, table: mapping });
      const end = 253402300799999999n;
      await applier.apply(of(0, full), of(end, null));
      await applier.apply(of(-62135596800000000n, empty), of(0, full));
      await applier.apply(of(0, empty));
      await applier.apply(of(0, full));
      const rows = await database.pool.query(`SELECT * FROM ${table} ORDER BY on_date`);
      assert.deepEqual(
        rows.rows.map((row: Record<string, unknown>) => [row['on_date'], row['off_date'], row['t']]),
        [
          ['0001-01-01 00:00:00+00', '1970-01-01 00:00:00+00', null],
          ['1970-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00', text],
        ],
      );
      assert.deepEqual(
        { ...rows.rows[1] },
        {
          Region: 'a,"b\\{',
          'the id': id,
          day: '0001-01-01',
          flag: true,
          small: -32768,
          mid: 2147483647,
          amount: '1234567890123456789012345678.0123456789',
          r: 0.1,
          d: -Infinity,
          t: text,
          local: '1969-12-31 23:59:59.999999',
          at: '0001-01-01 00:00:00+00',
          raw: Buffer.from([0, 92, 255]),
          doc: '{"k": "\\"\\\\ é"}',
          mood: 'good, "very"',
          is_active: false,
          on_date: '1970-01-01 00:00:00+00',
          off_date: '9999-12-31 23:59:59.999999+00',
        },
      );
    });

    test('a table whose columns are all key', async () => {
      const table = `only_key_${path}`;
      await database.pool.query(
        `CREATE TABLE ${table} (tag text, is_active boolean, on_date timestamptz, off_date timestamptz, PRIMARY KEY (tag, on_date))`,
      );
      const mapping: TableMapping = {
        name: 'tags',
        key: ['tag'],
        columns: [{ name: 'tag', type: { name: 'text' } }],
      };
      const applier = await openApplier(database.pool, table, { path, table: mapping });
      const of = (ts: number, op: Change['op']): Change => ({
        ...change(1, ts, 'A'),
        op,
        key: 'x',
        after: op === 'delete' ? null : ['x'],
      });
      await applier.apply(of(5, 'insert'), of(9, 'delete'));
      await applier.apply(of(5, 'insert'), of(7, 'snapshot'), of(3, 'insert'));
      const rows = await database.pool.query(
        `SELECT is_active, extract(microseconds FROM on_date)::int AS on, extract(microseconds FROM off_date)::int AS off FROM ${table} ORDER BY on_date`,
      );
      assert.deepEqual(rows.rows, [
        { is_active: false, on: 3, off: 5 },
        { is_active: false, on: 5, off: 9 },
      ]);
    });
  });

test('an empty batch moves the offset and nothing else', async () => {
  await createEmployees(database.pool, 'nothing');
  const { sink } = await openApplier(database.pool, 'nothing');
  await sink.claim([0], () => 4n);
  const applied = await sink.apply({ partition: 0, expected: 4n, next: 9n, changes: [] });
  assert.deepEqual(applied, { versionsInserted: 0, versionsEnded: 0, lateKeys: 0 });
  assert.deepEqual(await sink.claim([0], () => 0n), new Map([[0, 9n]]));
});

test('a batch of many chunks arrives whole', async () => {
  await createEmployees(database.pool, 'wide');
  const applier = await openApplier(database.pool, 'wide');
  const long = 'x'.repeat(10_000);
  await applier.apply(...Array.from({ length: 300 }, (_, index) => change(index, 1, `${long}${index}`)));
  const answer = await database.pool.query(
    `SELECT count(*)::int AS n, sum(length(name))::int AS length FROM wide WHERE name = repeat('x', 10000) || emp_id`,
  );
  assert.deepEqual(answer.rows, [{ n: 300, length: 300 * 10_000 + 10 + 180 + 600 }]);
});

test('a table that grew since the connection was opened is not scanned', async () => {
  await createEmployees(database.pool, 'grown');
  await database.pool.query('ALTER TABLE grown SET (autovacuum_enabled = off)');
  const pool = openPool({ url: database.url, maxConnections: 1 });
  try {
    const applier = await openApplier(pool, 'grown');
    for (let round = 0; round < 30; round++)
      await applier.apply(
        ...Array.from({ length: 1_000 }, (_, index) => change(round * 500 + index, round + 1, 'A')),
      );
    await pool.query('SELECT pg_stat_clear_snapshot()');
    const scanned = await until('the statistics arrive', async () => {
      const rows = await pool.query<{ inserted: string; scanned: string }>(
        `SELECT n_tup_ins AS inserted, seq_tup_read AS scanned FROM pg_stat_user_tables WHERE relname = 'grown'`,
      );
      return rows.rows[0]?.inserted === '30000' ? Number(rows.rows[0].scanned) : null;
    });
    assert.ok(scanned < 100_000, `${scanned} rows were read in sequence`);
  } finally {
    await pool.end();
  }
});
