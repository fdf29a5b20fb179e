import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pool } from 'pg';
import { capture, mappingOf, type Captured } from './captured.ts';
import { createDatabase, type TestDatabase } from './database.ts';

const COLUMNS = {
  id: 'bigint',
  yes: 'boolean',
  small: 'smallint',
  middle: 'integer',
  money: 'numeric(38,10)',
  single: 'real',
  wide: 'double precision',
  words: 'text',
  short: 'varchar(8)',
  day: 'date',
  local: 'timestamp',
  instant: 'timestamptz',
  ident: 'uuid',
  bytes: 'bytea',
  doc: 'jsonb',
  mood: 'enum(mood)',
  'odd "name", it\'s \\ 100%s $1': 'text',
};
/** As Postgres takes them; also what Delta cannot hold: that is for the reader to say, never for the writer to feel. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  yes: ['true', 'false'],
  small: ['-32768', '32767'],
  middle: ['-2147483648', '2147483647'],
  money: ['9999999999999999999999999999.9999999999', '-0.0000000001', 'NaN'],
  single: ['NaN', 'Infinity', '-Infinity', '-0', '1e-45', '3.4028235e38', '0.1'],
  wide: ['NaN', 'Infinity', '-Infinity', '-0', '5e-324', '1.7976931348623157e308', '0.1', '1e21'],
  words: [
    '',
    'null',
    '"',
    '\\',
    `'`,
    '\u0001\b\f\n\r\t\u007f\u2028',
    '𝒳 👩‍🚀 \u{10ffff}',
    '{"a":"b"}',
    '\\u0000',
  ],
  short: ['', '𝒳𝒳𝒳𝒳', '        '],
  day: ['infinity', '-infinity', '4713-01-01 BC', '0001-01-01', '5874897-12-31', '1582-10-10'],
  local: [
    'infinity',
    '-infinity',
    '4713-01-01 00:00:00 BC',
    '294276-12-31 23:59:59.999999',
    '2026-03-29 02:30:00',
  ],
  instant: [
    'infinity',
    '-infinity',
    '4713-01-01 00:00:00+00 BC',
    '294276-12-31 23:59:59.999999+00',
    '2026-01-02 03:04:05.000001+05:30',
  ],
  ident: ['00000000-0000-0000-0000-000000000000', 'FFFFFFFF-ffff-ffff-ffff-ffffffffffff'],
  bytes: ['\\x', '\\x00ff5c22', '\\x' + 'ab'.repeat(3000)],
  doc: [
    'null',
    '"\\"\\\\ \\n"',
    '{"b": 1, "a": 12345678901234567890.1234567890123456789}',
    '[1e400]',
    '"\\u00e9"',
  ],
  mood: ['happy', 'so "so"', `it's \\`],
  'odd "name", it\'s \\ 100%s $1': ['x'],
};

let database: TestDatabase;
let pool: Pool;
let log: Captured;
before(async () => {
  database = await createDatabase();
  pool = database.pool;
  await pool.query(`create type mood as enum ('happy', 'so "so"', 'it''s \\')`);
  const types = Object.entries(COLUMNS).map(
    ([name, type]) => `${quoted(name)} ${type.replace('enum(mood)', 'mood')}`,
  );
  await pool.query(`create table every (${types.join(', ')}, primary key (id))`);
  log = await capture(pool, {
    table: 'public.every',
    mapping: mappingOf('every', ['id'], COLUMNS),
    history: null,
  });
});
after(() => database.drop());

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** What the row is, as the pool's settings write it (ISO, UTC, hex, shortest floats). */
async function texts(id: number): Promise<Readonly<Record<string, string | null>>> {
  const columns = Object.keys(COLUMNS).map((name) => `${quoted(name)}::text as ${quoted(name)}`);
  const { rows } = await pool.query<Record<string, string | null>>(
    `select ${columns.join(', ')} from every where id = $1`,
    [id],
  );
  return rows[0]!;
}

describe('a logged value', () => {
  let id = 0;
  for (const [name, values] of Object.entries(VALUES))
    it(`of column ${name} is the text that Postgres has for it`, async () => {
      for (const value of values) {
        id += 1;
        await pool.query(`insert into every (id, ${quoted(name)}) values ($1, $2)`, [id, value]);
        const is = await texts(id);
        await pool.query('update every set yes = yes is not true where id = $1', [id]);
        const now = await texts(id);
        await pool.query('delete from every where id = $1', [id]);
        const rows = await log.logged();
        const states = rows.map(({ before, after }) => ({ before, after }));
        assert.deepEqual(
          states,
          [
            { before: null, after: is },
            { before: is, after: now },
            { before: now, after: null },
          ],
          value.slice(0, 60),
        );
      }
    });

  it('that only its sign, its digits or its case tell apart is a change', async () => {
    await pool.query(`insert into every (id, wide, doc, words) values (900, 0, '1.0', 'a')`);
    await log.logged();
    for (const change of [`wide = '-0'`, `doc = '1.00'`, `words = 'A'`, `words = 'A '`])
      await pool.query(`update every set ${change} where id = 900`);
    assert.equal((await log.logged()).length, 4);
    await pool.query(`update every set wide = 'NaN' where id = 900`);
    await pool.query(`update every set wide = 'NaN' where id = 900`);
    assert.equal((await log.logged()).length, 1);
  });

  it('of a megabyte is logged, whether the statement touches it or not', async () => {
    const wide = '𝒳\n"'.repeat(200_000);
    const bytes = Buffer.alloc(1_000_000, 0x5c);
    await pool.query('insert into every (id, words, bytes) values (901, $1, $2)', [wide, bytes]);
    await pool.query('update every set small = 1 where id = 901');
    const rows = await log.logged();
    assert.deepEqual(
      rows.map(({ after }) => [
        after?.['words'] === wide,
        after?.['bytes'] === `\\x${bytes.toString('hex')}`,
      ]),
      [
        [true, true],
        [true, true],
      ],
    );
  });
});

describe('the settings of the writer', () => {
  const insert = `insert into every (id, yes, single, wide, words, day, local, instant, bytes, doc, "odd ""name"", it's \\ 100%s $1")
    values ($1, true, 0.1, 0.1::float8 + 0.2::float8, $2, '2026-02-01', '2026-02-01 03:04:05', '2026-02-01 03:04:05.5+00', $3, '{"a": 1.10}', 'x')`;
  const SETTINGS: readonly string[] = [
    `set datestyle = 'SQL, DMY'`,
    `set datestyle = 'German'`,
    `set timezone = 'Asia/Kolkata'`,
    `set bytea_output = 'escape'`,
    'set extra_float_digits = -15',
    'set extra_float_digits = 0',
    'set standard_conforming_strings = off',
    'set backslash_quote = off',
    'set array_nulls = off',
    'set transform_null_equals = on',
    'set quote_all_identifiers = on',
    `set intervalstyle = 'sql_standard'`,
    `set plpgsql.extra_errors = 'all'`,
    `set plpgsql.variable_conflict = 'error'`,
    'set enable_hashjoin = off',
    'set default_transaction_isolation = serializable',
    'set search_path = nowhere',
    'set row_security = off',
  ];

  it('change nothing in what is logged', async () => {
    const written = async (setting: string | null) => {
      const client = await pool.connect();
      try {
        if (setting !== null) await client.query(setting);
        const value = [1000, `it's \\ "so"`, Buffer.from([0, 1, 92, 255])];
        await client.query(insert.replace('every', 'public.every'), value);
        await client.query(`update public.every set words = 'other' where id = 1000`);
        await client.query('truncate public.every');
      } finally {
        client.release(true);
      }
      return (await log.logged()).map(({ op, key, before, after }) => ({ op, key, before, after }));
    };
    await pool.query('delete from every');
    await log.logged();
    const expected = await written(null);
    assert.deepEqual(
      expected.map(({ op }) => op),
      ['I', 'U', 'D'],
    );
    assert.equal(expected[0]?.after?.['instant'], '2026-02-01 03:04:05.5+00');
    assert.equal(expected[0]?.after?.['wide'], '0.30000000000000004');
    for (const setting of SETTINGS) assert.deepEqual(await written(setting), expected, setting);
  });

  it('cannot put objects of the writer’s in the place of Postgres’s own', async () => {
    const client = await pool.connect();
    try {
      await client.query(`
        create schema evil;
        create function evil.json_object(text[], text[]) returns json language sql as $$ select '"stolen"'::json $$;
        create function evil.clock_timestamp() returns timestamptz language sql as $$ select 'epoch'::timestamptz $$;
        create function evil.coalesce_text(text, text) returns text language sql as $$ select 'x' $$;
        create function evil.equal(bigint, bigint) returns boolean language sql as $$ select false $$;
        create operator evil.= (leftarg = bigint, rightarg = bigint, function = evil.equal);
        create domain evil.text as pg_catalog.text;
        create table evil.pg_class as select 'public.every'::regclass::oid as oid, 'p'::"char" as relkind;
        create temporary table old_rows (id int);
        create temporary table new_rows (id int);
        create temporary table pg_class as select * from evil.pg_class;
        create function pg_temp.clock_timestamp() returns timestamptz language sql as $$ select 'epoch'::timestamptz $$;
        set search_path = evil, pg_temp, pg_catalog, public`);
      await client.query(`insert into public.every (id, words) values (2000, 'a'), (2001, 'b')`);
      await client.query(`update public.every set words = 'c' where id = 2000`);
      await client.query('delete from public.every where id = 2001');
      await client.query('truncate public.every');
    } finally {
      client.release(true);
    }
    const rows = await log.logged();
    assert.deepEqual(
      rows.map(({ op, before, after }) => [op, before?.['words'], after?.['words']]),
      [
        ['I', undefined, 'a'],
        ['I', undefined, 'b'],
        ['U', 'a', 'c'],
        ['D', 'b', undefined],
        ['D', 'c', undefined],
      ],
    );
    const stamps = await pool.query(
      'select from deltaferry.every_changes where changed_at < now() - interval $$1 hour$$',
    );
    assert.equal(stamps.rowCount, 0);
  });
});
