import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pool } from 'pg';
import type { TableMapping } from '../../src/change/table.ts';
import { createHistoryTable, DEFAULT_HISTORY_COLUMNS } from '../../src/connections/postgres/history-ddl.ts';
import { createHistoryTables } from '../../src/connections/postgres/history-table.ts';
import { planHistoryTable } from '../../src/setup/plan-history.ts';
import { employees, mapping } from './existing-things.ts';
import { ownDatabase, type OwnDatabase } from './own-database.ts';

/** What the plan reads from facts is only worth as much as the facts: here they come from a real catalog. */
describe('history table in the catalog', () => {
  let database: OwnDatabase;
  let pool: Pool;
  before(async () => {
    database = await ownDatabase('setup_catalog');
    pool = database.pool;
    await pool.query(
      `create type mood as enum ('ok'); create schema hr; create type hr."Odd Mood" as enum ('ok')`,
    );
  });
  after(() => database.drop());

  const target = (table: string, mapped: TableMapping = employees) => ({
    table,
    mapping: mapped,
    names: DEFAULT_HISTORY_COLUMNS,
  });

  async function findings(table: string, mapped: TableMapping = employees): Promise<readonly string[]> {
    const facts = await createHistoryTables(pool).describe(table, mapped);
    const steps = planHistoryTable(target(table, mapped), facts);
    return steps.map(({ kind, detail }) => `${kind}: ${detail}`);
  }

  it('is fitting when it is as setup itself creates it, with a column of every type', async () => {
    const every = mapping(
      {
        emp_id: 'bigint',
        region: 'varchar(8)',
        'a "b" c': 'boolean',
        s: 'smallint',
        i: 'integer',
        n: 'numeric(38,10)',
        r: 'real',
        d: 'double precision',
        t: 'text',
        day: 'date',
        local: 'timestamp',
        instant: 'timestamptz',
        u: 'uuid',
        b: 'bytea',
        j: 'jsonb',
        m: 'enum(mood)',
      },
      ['emp_id', 'region'],
    );
    const tables = createHistoryTables(pool);
    await tables.create('public.Every', createHistoryTable(target('public.Every', every)));
    assert.deepEqual(await findings('public.Every', every), [
      'ok: columns, types, primary key and current-version index fit',
    ]);
  });

  it('knows an enum of another schema by its own spelling', async () => {
    const moody = { ...mapping({ emp_id: 'bigint' }), columns: [...mapping({ emp_id: 'bigint' }).columns] };
    moody.columns.push({ name: 'm', type: { name: 'enum', type: 'hr."Odd Mood"' } });
    await createHistoryTables(pool).create('hr.moody', createHistoryTable(target('hr.moody', moody)));
    assert.deepEqual(await findings('hr.moody', moody), [
      'ok: columns, types, primary key and current-version index fit',
    ]);
    await pool.query('alter table hr.moody alter column m type text');
    assert.deepEqual(await findings('hr.moody', moody), [
      'mismatch: column m is text, enum(hr."Odd Mood") wanted',
    ]);
  });

  const cases: readonly { name: string; ddl: string; expected: readonly string[] }[] = [
    {
      name: 'is missing',
      ddl: '',
      expected: ['create: primary key (emp_id, on_date), one current version per key'],
    },
    {
      name: 'is the table of a team that never heard of us',
      ddl: `create table T (emp_id int primary key, name varchar(20) not null, salary money, dept text not null,
              current boolean generated always as (emp_id > 0) stored)`,
      expected: [
        'mismatch: column emp_id is integer, bigint wanted',
        'mismatch: column name is character varying(20), text wanted',
        'warning: column name is NOT NULL: a change with null there goes to the dead letters',
        'mismatch: column salary is money, numeric(12,2) wanted',
        'mismatch: column is_active (boolean) is missing',
        'mismatch: column on_date (timestamptz) is missing',
        'mismatch: column off_date (timestamptz) is missing',
        'mismatch: column dept is not in the mapping, is NOT NULL and has no default: no version could be inserted',
        'mismatch: has no primary key (emp_id, on_date): it is (emp_id); a unique constraint beside it will do',
        'mismatch: has no unique index on (emp_id) WHERE off_date IS NULL: nothing keeps a key to one current version',
        'mismatch: T_pkey is unique on (emp_id): it refuses a second version of a key',
      ],
    },
    {
      name: 'has its keys in other ways that hold as well',
      ddl: `create table T (id bigint generated always as identity primary key, emp_id bigint not null, name text,
              salary numeric(12,2), is_active boolean not null, on_date timestamptz(6) not null, off_date timestamptz,
              unique (on_date, emp_id) include (name));
            create unique index on T (emp_id) include (salary) where off_date is null;
            create unique index on T (emp_id, on_date, (salary + 1))`,
      expected: ['ok: columns, types, primary key and current-version index fit'],
    },
    {
      name: 'has keys that hold only at commit, or not at all',
      ddl: `create unlogged table T (emp_id bigint, name text, salary numeric(12,2), is_active boolean,
              on_date timestamptz, off_date timestamptz, primary key (emp_id, on_date) deferrable);
            create unique index on T (emp_id) where is_active;
            create unique index on T (emp_id, on_date) where is_active;
            create unique index unbuilt on T (emp_id) where off_date is null;
            update pg_index set indisvalid = false where indexrelid = 'unbuilt'::regclass;
            alter table T enable row level security`,
      expected: [
        'mismatch: is UNLOGGED: Postgres empties it after a crash, and what was applied would be missing for good',
        'warning: has row level security: its role needs BYPASSRLS, since COPY cannot write through policies',
        'warning: column is_active can be null, which only people would write',
        'mismatch: has no primary key (emp_id, on_date): T_pkey is deferrable or invalid',
        'mismatch: has no unique index on (emp_id) WHERE off_date IS NULL: nothing keeps a key to one current version',
        'mismatch: T_emp_id_idx is unique on (emp_id) WHERE is_active: it refuses a second version of a key',
      ],
    },
    {
      name: 'is partitioned',
      ddl: `create table T (emp_id bigint, name text, salary numeric(12,2), is_active boolean not null,
              on_date timestamptz, off_date timestamptz, primary key (emp_id, on_date)) partition by hash (emp_id);
            create table T_0 partition of T for values with (modulus 1, remainder 0);
            create unique index on T (emp_id) where off_date is null`,
      expected: ['ok: columns, types, primary key and current-version index fit'],
    },
    {
      name: 'is a view',
      ddl: 'create view T as select 1 as emp_id',
      expected: ['mismatch: is a view, not a table'],
    },
  ];
  for (const [at, { name, ddl, expected }] of cases.entries())
    it(name, async () => {
      const table = `t${at}`;
      if (ddl !== '') await pool.query(ddl.replaceAll(/\bT\b/g, table).replaceAll('T_0', `${table}_0`));
      assert.deepEqual(
        await findings(`public.${table}`),
        expected.map((text) => text.replaceAll(/\bT_/g, `${table}_`)),
      );
    });

  it('whose key has a collation that takes different texts for equal is refused, and mended by what is said', async () => {
    const words = {
      name: 'words',
      key: ['word'],
      columns: [{ name: 'word', type: { name: 'text' } }],
    } as const;
    const look = async () =>
      planHistoryTable(
        { ...target('public.words'), mapping: words },
        await createHistoryTables(pool).describe('public.words', words),
      );
    await pool.query(`
      create collation anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      create table words (word text collate anycase, is_active boolean not null, on_date timestamptz, off_date timestamptz,
                          primary key (word, on_date));
      create unique index on words (word) where off_date is null`);
    const [found, ...others] = await look();
    assert.deepEqual(others, []);
    assert.match(found!.detail, /key column word has the collation anycase/);
    for (const statement of [found!.sql!].flat()) await pool.query(statement);
    assert.deepEqual(
      (await look()).map(({ kind }) => kind),
      ['ok'],
    );
  });

  it('says what mends it, and the statements do', async () => {
    await pool.query(`
      create unlogged table broken (emp_id int generated always as identity primary key, name text, salary numeric(8,2),
        is_active boolean generated always as (length(dept) > 0) stored, on_date timestamp, dept text not null)`);
    // Each round runs what the last one said: a primary key in the way goes first, another takes its place.
    for (let round = 0; round < 3; round++) {
      const facts = await createHistoryTables(pool).describe('public.broken', employees);
      const mismatches = planHistoryTable(target('public.broken'), facts).filter(
        ({ kind }) => kind === 'mismatch',
      );
      for (const sql of mismatches.flatMap((step) => step.sql ?? [])) await pool.query(sql);
    }
    assert.deepEqual(await findings('public.broken'), [
      'ok: columns, types, primary key and current-version index fit',
      'warning: column is_active can be null, which only people would write',
    ]);
  });

  it('is not taken from another schema, and no schema is made for it', async () => {
    await pool.query('create table public.elsewhere (emp_id bigint)');
    assert.deepEqual(await findings('hr.elsewhere'), [
      'create: primary key (emp_id, on_date), one current version per key',
    ]);
    assert.deepEqual(await findings('nowhere.employees'), ['mismatch: schema nowhere does not exist']);
  });

  it('is created once when two setups meet', async () => {
    const statements = createHistoryTable(target('public.twice'));
    const tables = createHistoryTables(pool);
    await Promise.all([1, 2, 3, 4].map(() => tables.create('public.twice', statements)));
    assert.deepEqual(await findings('public.twice'), [
      'ok: columns, types, primary key and current-version index fit',
    ]);
  });

  it('is not left half made', async () => {
    const [create = ''] = createHistoryTable(target('public.half'));
    await assert.rejects(
      createHistoryTables(pool).create('public.half', [create, 'create index on nothing (x)']),
    );
    assert.deepEqual(await findings('public.half'), [
      'create: primary key (emp_id, on_date), one current version per key',
    ]);
  });
});
