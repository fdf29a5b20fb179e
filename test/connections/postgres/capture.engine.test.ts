import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { Pool } from 'pg';
import { createTriggerSql, CAPTURE_EVENTS, logTable } from '../../../src/connections/postgres/capture-ddl.ts';
import { capture, copyIn, mappingOf, type Captured } from './captured.ts';
import { createDatabase, type TestDatabase } from './database.ts';

let database: TestDatabase;
let pool: Pool;
before(async () => {
  database = await createDatabase();
  pool = database.pool;
});
after(() => database.drop());

/** All statements in one transaction, or each in its own. */
async function run(...statements: readonly string[]): Promise<void> {
  for (const statement of statements) await pool.query(statement);
}

async function together(...statements: readonly string[]): Promise<void> {
  await run(`begin; ${statements.join('; ')}; commit`);
}

/** A user who loses one of these has a Delta table that differs from Postgres, and no sign of it. */
describe('a plain table', () => {
  const mapping = mappingOf('pay', ['id'], { id: 'bigint', name: 'text', salary: 'numeric(12,2)' });
  const row = (id: number, name: string | null, salary: string) =>
    JSON.stringify({ id: String(id), name, salary });
  let log: Captured;
  before(async () => {
    await run('create table pay (id bigint primary key, name text, salary numeric(12,2), note text)');
    log = await capture(pool, { table: 'public.pay', mapping, history: null });
  });
  beforeEach(async () => {
    await run('delete from pay', `insert into pay values (1, 'a', 1), (2, 'b', 2), (3, null, 3)`);
    await log.logged();
  });

  const cases: readonly { name: string; sql: readonly string[]; expected: readonly string[] }[] = [
    {
      name: 'INSERT of several rows',
      sql: [`insert into pay values (7, 'x', 1), (8, null, 2.5)`],
      expected: [`7: null → ${row(7, 'x', '1.00')}`, `8: null → ${row(8, null, '2.50')}`],
    },
    {
      name: 'UPDATE of several rows',
      sql: ['update pay set salary = salary + 1 where id < 3'],
      expected: [
        `1: ${row(1, 'a', '1.00')} → ${row(1, 'a', '2.00')}`,
        `2: ${row(2, 'b', '2.00')} → ${row(2, 'b', '3.00')}`,
      ],
    },
    {
      name: 'DELETE of several rows',
      sql: ['delete from pay where id < 3'],
      expected: [`1: ${row(1, 'a', '1.00')} → null`, `2: ${row(2, 'b', '2.00')} → null`],
    },
    {
      name: 'TRUNCATE',
      sql: ['truncate pay'],
      expected: [
        `1: ${row(1, 'a', '1.00')} → null`,
        `2: ${row(2, 'b', '2.00')} → null`,
        `3: ${row(3, null, '3.00')} → null`,
      ],
    },
    {
      name: 'a changed primary key is a delete and an insert',
      sql: ['update pay set id = 9 where id = 1'],
      expected: [`1: ${row(1, 'a', '1.00')} → null`, `9: null → ${row(9, 'a', '1.00')}`],
    },
    {
      name: 'keys that move up by one pair by key, not by row',
      sql: ['update pay set id = id + 10', 'update pay set id = id - 9'],
      expected: [
        // The first moves every key away, the second back to another.
        ...[1, 2, 3].map((id) => `${id}: ${row(id, [null, 'a', 'b', null][id]!, `${id}.00`)} → null`),
        ...[1, 2, 3].map(
          (id) => `${id + 10}: null → ${row(id + 10, [null, 'a', 'b', null][id]!, `${id}.00`)}`,
        ),
        ...[1, 2, 3].map(
          (id) => `${id + 10}: ${row(id + 10, [null, 'a', 'b', null][id]!, `${id}.00`)} → null`,
        ),
        ...[1, 2, 3].map((id) => `${id + 1}: null → ${row(id + 1, [null, 'a', 'b', null][id]!, `${id}.00`)}`),
      ],
    },
    {
      name: 'INSERT with ON CONFLICT DO UPDATE, both of its ways',
      sql: [
        `insert into pay values (1, 'new', 5), (4, 'd', 4) on conflict (id) do update set name = excluded.name`,
      ],
      expected: [`1: ${row(1, 'a', '1.00')} → ${row(1, 'new', '1.00')}`, `4: null → ${row(4, 'd', '4.00')}`],
    },
    {
      name: 'INSERT with ON CONFLICT DO NOTHING',
      sql: [`insert into pay values (1, 'new', 5), (4, 'd', 4) on conflict do nothing`],
      expected: [`4: null → ${row(4, 'd', '4.00')}`],
    },
    {
      name: 'MERGE with an insert, an update and a delete',
      sql: [
        `merge into pay p using (values (1, 'm'), (2, null), (5, 'n')) s (id, name) on p.id = s.id
         when matched and s.name is null then delete
         when matched then update set name = s.name
         when not matched then insert (id, name, salary) values (s.id, s.name, 0)`,
      ],
      expected: [
        `1: ${row(1, 'a', '1.00')} → ${row(1, 'm', '1.00')}`,
        `2: ${row(2, 'b', '2.00')} → null`,
        `5: null → ${row(5, 'n', '0.00')}`,
      ],
    },
    {
      name: 'a statement that writes in several WITH parts',
      sql: [
        `with gone as (delete from pay where id = 1 returning *)
         insert into pay (id, name, salary) select id + 100, name, salary from gone`,
      ],
      expected: [`1: ${row(1, 'a', '1.00')} → null`, `101: null → ${row(101, 'a', '1.00')}`],
    },
    { name: 'an UPDATE of a column that is not mapped', sql: [`update pay set note = 'n'`], expected: [] },
    { name: 'an UPDATE that changes nothing', sql: ['update pay set name = name'], expected: [] },
    { name: 'an UPDATE that finds no row', sql: ['update pay set name = null where id = 77'], expected: [] },
    {
      name: 'null becomes a value, and a value null',
      sql: [`update pay set name = case id when 3 then 'c' end where id in (1, 3)`],
      expected: [
        `1: ${row(1, 'a', '1.00')} → ${row(1, null, '1.00')}`,
        `3: ${row(3, null, '3.00')} → ${row(3, 'c', '3.00')}`,
      ],
    },
  ];
  for (const { name, sql, expected } of cases)
    it(name, async () => {
      await run(...sql);
      assert.deepEqual(await log.net(), expected.toSorted());
    });

  it('COPY', async () => {
    await copyIn(pool, 'copy pay (id, name, salary) from stdin', '21\tcopied\t1\n22\t\\N\t2\n');
    assert.deepEqual(await log.net(), [
      `21: null → ${row(21, 'copied', '1.00')}`,
      `22: null → ${row(22, null, '2.00')}`,
    ]);
  });

  it('several statements of one transaction come to one change per key', async () => {
    await together(
      `insert into pay values (30, 'x', 1)`,
      'update pay set salary = 2 where id = 30',
      'update pay set salary = 9 where id = 1',
      'update pay set salary = 1 where id = 1',
      'delete from pay where id = 2',
      `insert into pay values (2, 'again', 2)`,
      `insert into pay values (31, 'y', 1)`,
      'delete from pay where id = 31',
    );
    assert.deepEqual(await log.net(), [
      `2: ${row(2, 'b', '2.00')} → ${row(2, 'again', '2.00')}`,
      `30: null → ${row(30, 'x', '2.00')}`,
    ]);
  });

  it('what a savepoint takes back is not logged', async () => {
    await together(
      'update pay set salary = 10 where id = 1',
      'savepoint s',
      'update pay set salary = 11 where id = 1',
      'delete from pay where id = 2',
      'rollback to s',
      'update pay set salary = 12 where id = 3',
    );
    assert.deepEqual(await log.net(), [
      `1: ${row(1, 'a', '1.00')} → ${row(1, 'a', '10.00')}`,
      `3: ${row(3, null, '3.00')} → ${row(3, null, '12.00')}`,
    ]);
  });

  it('what a transaction takes back is not logged', async () => {
    await run('begin; truncate pay; rollback');
    assert.deepEqual(await log.net(), []);
  });

  it('what our own sink writes is not logged, and what others write besides it is', async () => {
    await together(
      `set local deltaferry.origin = 'delta'`,
      `insert into pay values (40, 'x', 1)`,
      'update pay set salary = 0',
      'delete from pay where id = 1',
      'truncate pay',
    );
    assert.deepEqual(await log.net(), []);
    // The setting ends with its transaction.
    await run(`insert into pay values (41, 'x', 1)`);
    assert.deepEqual(await log.net(), [`41: null → ${row(41, 'x', '1.00')}`]);
  });

  it('a trigger of the user’s that updates the row again', async () => {
    await run(
      `create function bump() returns trigger language plpgsql as $$ begin
         update pay set salary = new.salary + 100 where id = new.id; return null; end $$`,
      `create trigger bump after insert or update of name on pay for each row execute function bump()`,
    );
    try {
      await run(`insert into pay values (50, 'x', 1)`, `update pay set name = 'z' where id in (1, 2)`);
    } finally {
      await run('drop function bump cascade');
    }
    assert.deepEqual(await log.net(), [
      `1: ${row(1, 'a', '1.00')} → ${row(1, 'z', '101.00')}`,
      `2: ${row(2, 'b', '2.00')} → ${row(2, 'z', '102.00')}`,
      `50: null → ${row(50, 'x', '101.00')}`,
    ]);
  });

  it('a trigger of the user’s that changes the row before it is written', async () => {
    await run(
      `create function shout() returns trigger language plpgsql as $$ begin new.name = upper(new.name); return new; end $$`,
      'create trigger shout before insert or update on pay for each row execute function shout()',
    );
    try {
      await run(`insert into pay values (51, 'x', 1)`);
    } finally {
      await run('drop function shout cascade');
    }
    assert.deepEqual(await log.net(), [`51: null → ${row(51, 'X', '1.00')}`]);
  });

  it('rows that a foreign key deletes or empties with others', async () => {
    await run(
      'create table dept (name text primary key)',
      `insert into dept values ('a'), ('b')`,
      'alter table pay add constraint dept foreign key (name) references dept on delete cascade on update cascade',
    );
    try {
      await run(`delete from dept where name = 'a'`, `update dept set name = 'B' where name = 'b'`);
    } finally {
      await run('alter table pay drop constraint dept', 'drop table dept');
    }
    assert.deepEqual(await log.net(), [
      `1: ${row(1, 'a', '1.00')} → null`,
      `2: ${row(2, 'b', '2.00')} → ${row(2, 'B', '2.00')}`,
    ]);
  });

  it('knows the transaction of a change, and its time', async () => {
    const before = await pool.query<{ now: string }>('select clock_timestamp() as now');
    await run(`update pay set salary = 77 where id = 1`);
    const found = await pool.query<{ own: boolean; timely: boolean }>(
      `select xid < pg_current_xact_id() as own, changed_at between $1 and clock_timestamp() as timely
       from ${logTable('pay')} order by change_id desc limit 1`,
      [before.rows[0]!.now],
    );
    assert.deepEqual(found.rows, [{ own: true, timely: true }]);
  });

  it('a renamed table is logged under its old name here, TRUNCATE as well', async () => {
    await run('alter table pay rename to wages');
    try {
      await run('update wages set salary = 5 where id = 1', 'truncate wages');
    } finally {
      await run('alter table wages rename to pay');
    }
    assert.equal((await log.net()).length, 4);
  });

  it('50,000 rows in one statement, with little memory to join them', async () => {
    await run(`insert into pay select i, 'e' || i, 1 from generate_series(1001, 51000) i`);
    await log.logged();
    await together(`set local work_mem = '64kB'`, 'update pay set salary = salary + 1 where id > 1000');
    const counted = await pool.query<{ rows: string; keys: string }>(
      `select count(*) as rows, count(distinct key) as keys from ${logTable('pay')}
       where key::bigint > 1000 and before ->> 'salary' = '1.00' and after ->> 'salary' = '2.00'`,
    );
    assert.deepEqual(counted.rows, [{ rows: '50000', keys: '50000' }]);
  });
});

describe('a history (SCD2)', () => {
  const mapping = mappingOf('staff', ['emp_id'], { emp_id: 'bigint', name: 'text' });
  const history = { onDate: 'on_date', offDate: 'off_date' };
  const person = (id: number, name: string) => JSON.stringify({ emp_id: String(id), name });
  let log: Captured;
  before(async () => {
    await run(
      `create table staff (emp_id bigint, name text, is_active boolean not null, on_date timestamptz,
         off_date timestamptz, primary key (emp_id, on_date))`,
    );
    log = await capture(pool, { table: 'public.staff', mapping, history });
  });
  beforeEach(async () => {
    await run(
      'delete from staff',
      `insert into staff values (1, 'a0', false, '2020-01-01', '2021-01-01'), (1, 'a', true, '2021-01-01', null),
         (2, 'b', true, '2021-01-01', 'infinity'), (3, 'gone', false, '2021-01-01', '2022-01-01')`,
    );
    await log.logged();
  });

  const close = (id: number) =>
    `update staff set off_date = now(), is_active = false where emp_id = ${id} and (off_date is null or off_date = 'infinity')`;
  const open = (id: number, name: string) => `insert into staff values (${id}, '${name}', true, now(), null)`;
  const cases: readonly { name: string; sql: readonly string[]; expected: readonly string[] }[] = [
    {
      name: 'ending a version and opening the next is an update',
      sql: [close(1), open(1, 'a2')],
      expected: [`1: ${person(1, 'a')} → ${person(1, 'a2')}`],
    },
    {
      name: 'opening before ending is the same',
      sql: [open(1, 'a2'), `update staff set off_date = now() where emp_id = 1 and name = 'a'`],
      expected: [`1: ${person(1, 'a')} → ${person(1, 'a2')}`],
    },
    {
      name: 'a new version that says the same is no change',
      sql: [close(1), open(1, 'a')],
      expected: [],
    },
    {
      name: 'ending the current version is a delete',
      sql: [close(1)],
      expected: [`1: ${person(1, 'a')} → null`],
    },
    {
      name: 'a current version that ends in infinity is one',
      sql: [close(2)],
      expected: [`2: ${person(2, 'b')} → null`],
    },
    {
      name: 'an open end written another way is no change',
      sql: ['update staff set off_date = null where emp_id = 2'],
      expected: [],
    },
    {
      name: 'deleting the current version is a delete',
      sql: ['delete from staff where emp_id = 1 and off_date is null'],
      expected: [`1: ${person(1, 'a')} → null`],
    },
    {
      name: 'opening alone is an insert',
      sql: [open(3, 'back')],
      expected: [`3: null → ${person(3, 'back')}`],
    },
    {
      name: 're-opening is an insert',
      sql: ['update staff set off_date = null, is_active = true where emp_id = 3'],
      expected: [`3: null → ${person(3, 'gone')}`],
    },
    {
      name: 'changing the current version in place is an update',
      sql: [`update staff set name = 'corrected' where emp_id = 1 and off_date is null`],
      expected: [`1: ${person(1, 'a')} → ${person(1, 'corrected')}`],
    },
    {
      name: 'moving the start of the current version is no change',
      sql: [`update staff set on_date = '2021-06-01' where emp_id = 1 and off_date is null`],
      expected: [],
    },
    {
      name: 'corrections of closed versions are not changes of the current state',
      sql: [
        `update staff set name = 'old' where emp_id = 1 and off_date is not null`,
        `insert into staff values (1, 'older', false, '2019-01-01', '2020-01-01')`,
        `delete from staff where emp_id = 3`,
      ],
      expected: [],
    },
    {
      name: 'giving a version to another key is a delete and an insert',
      sql: ['update staff set emp_id = 9 where emp_id = 1'],
      expected: [`1: ${person(1, 'a')} → null`, `9: null → ${person(9, 'a')}`],
    },
    {
      name: 'TRUNCATE is a delete per current key',
      sql: ['truncate staff'],
      expected: [`1: ${person(1, 'a')} → null`, `2: ${person(2, 'b')} → null`],
    },
    {
      name: 'two changes in one transaction are one',
      sql: [close(1), open(1, 'x'), `update staff set name = 'y' where emp_id = 1 and off_date is null`],
      expected: [`1: ${person(1, 'a')} → ${person(1, 'y')}`],
    },
    {
      name: 'ending all and opening all in two statements',
      sql: [
        'update staff set off_date = now(), is_active = false where is_active',
        `insert into staff select emp_id, name || '!', true, now(), null from staff where off_date = now()`,
      ],
      expected: [`1: ${person(1, 'a')} → ${person(1, 'a!')}`, `2: ${person(2, 'b')} → ${person(2, 'b!')}`],
    },
  ];
  for (const { name, sql, expected } of cases)
    it(name, async () => {
      await together(...sql);
      assert.deepEqual(await log.net(), expected.toSorted());
    });

  it('a version is not ended before it began, and one far ahead freezes nothing', async () => {
    const at = async (onDate: string) => {
      await run(
        'delete from staff',
        `insert into staff values (5, 'x', true, ${onDate}, null)`,
        `update staff set name = 'y'`,
      );
      const { rows } = await pool.query<{ after: boolean; near: boolean }>(
        `select changed_at > s.on_date as after, changed_at < clock_timestamp() + '5 minutes 1 second' as near
         from ${logTable('staff')}, staff s where s.emp_id = 5 order by change_id desc limit 1`,
      );
      return rows[0];
    };
    assert.deepEqual(await at(`clock_timestamp() + '3 minutes'`), { after: true, near: true });
    assert.deepEqual(await at(`clock_timestamp() + '1 hour'`), { after: false, near: true });
    assert.deepEqual(await at(`'infinity'`), { after: false, near: true });
    assert.deepEqual(await at(`'-infinity'`), { after: true, near: true });
    assert.deepEqual(await at(`clock_timestamp()`), { after: true, near: true });
  });
});

describe('keys', () => {
  it('of several columns are a JSON array, whatever is in them', async () => {
    await run(
      'create table places (land text, zip varchar(8), "day" date, what text, primary key (land, zip, "day"))',
    );
    const mapping = mappingOf('places', ['zip', 'land', 'day'], {
      land: 'text',
      zip: 'varchar(8)',
      day: 'date',
      what: 'text',
    });
    const log = await capture(pool, { table: 'public.places', mapping, history: null });
    await run(`insert into places values ('d"e', '1,2', '2026-01-02', 'x')`, `update places set land = 'at'`);
    const keys = (await log.logged()).map(({ key }) => JSON.parse(key) as unknown);
    assert.deepEqual(keys, [
      ['1,2', 'd"e', '2026-01-02'],
      // The two sides of the changed key, in either order.
      ...((keys[1] as string[])[1] === 'at'
        ? [
            ['1,2', 'at', '2026-01-02'],
            ['1,2', 'd"e', '2026-01-02'],
          ]
        : [
            ['1,2', 'd"e', '2026-01-02'],
            ['1,2', 'at', '2026-01-02'],
          ]),
    ]);
  });

  it('that a collation takes for equal are two keys', async () => {
    await run(
      `create collation anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
      'create table words (word text collate anycase primary key, n int)',
    );
    const mapping = mappingOf('words', ['word'], { word: 'text', n: 'integer' });
    const log = await capture(pool, { table: 'public.words', mapping, history: null });
    await run(`insert into words values ('a', 1)`, `update words set word = 'A'`);
    assert.deepEqual(await log.net(), [
      `A: null → {"word":"A","n":"1"}`,
      `a: null → {"word":"a","n":"1"}`,
      `a: {"word":"a","n":"1"} → null`,
    ]);
  });
});

describe('a partitioned table', () => {
  const mapping = mappingOf('sales', ['region', 'id'], { region: 'text', id: 'bigint', amount: 'integer' });
  const RELATIONS = ['public.sales', 'public.sales_eu', 'public.sales_eu_de', 'public.sales_us'];
  const sale = (region: string, id: number, amount: number) =>
    JSON.stringify({ region, id: String(id), amount: String(amount) });
  let log: Captured;
  before(async () => {
    await run(
      'create table sales (region text, id bigint, amount int, primary key (region, id)) partition by list (region)',
      `create table sales_eu partition of sales for values in ('de', 'fr') partition by list (region)`,
      `create table sales_eu_de partition of sales_eu for values in ('de')`,
      // Columns in another order than the parent's.
      'create table sales_us (amount int, id bigint not null, region text not null)',
      `alter table sales attach partition sales_us for values in ('us')`,
    );
    log = await capture(pool, { table: 'public.sales', mapping, history: null }, RELATIONS);
  });
  beforeEach(async () => {
    await run(`delete from sales`, `insert into sales values ('de', 1, 10), ('us', 2, 20)`);
    await log.logged();
  });

  it('logs what is written to it, also where a row moves to another partition', async () => {
    await run(
      `insert into sales values ('de', 3, 30)`,
      `update sales set region = 'us' where id = 1`,
      'update sales set amount = 21 where id = 2',
      'delete from sales where id = 3',
    );
    assert.deepEqual(await log.net(), [
      `["de", "1"]: ${sale('de', 1, 10)} → null`,
      `["de", "3"]: null → ${sale('de', 3, 30)}`,
      `["de", "3"]: ${sale('de', 3, 30)} → null`,
      `["us", "1"]: null → ${sale('us', 1, 10)}`,
      `["us", "2"]: ${sale('us', 2, 20)} → ${sale('us', 2, 21)}`,
    ]);
  });

  it('logs what is written to a partition, once', async () => {
    await run(
      `insert into sales_eu values ('de', 3, 30)`,
      `update sales_us set amount = 22`,
      `delete from sales_eu_de where id = 1`,
      'truncate sales_eu_de',
    );
    assert.deepEqual(await log.net(), [
      `["de", "1"]: ${sale('de', 1, 10)} → null`,
      `["de", "3"]: null → ${sale('de', 3, 30)}`,
      `["de", "3"]: ${sale('de', 3, 30)} → null`,
      `["us", "2"]: ${sale('us', 2, 20)} → ${sale('us', 2, 22)}`,
    ]);
  });

  it('logs TRUNCATE of the whole once per row, with partitions added since', async () => {
    await run(`create table sales_eu_fr partition of sales_eu for values in ('fr')`);
    await run(`insert into sales values ('fr', 5, 50)`, 'truncate sales');
    const rows = await log.logged();
    assert.deepEqual(
      rows
        .filter(({ op }) => op === 'D')
        .map(({ key }) => key)
        .filter((key, at, all) => all.indexOf(key) === at)
        .toSorted(),
      ['["de", "1"]', '["fr", "5"]', '["us", "2"]'],
    );
    await run('drop table sales_eu_fr');
  });

  it('can get its triggers again and again', async () => {
    for (const relation of RELATIONS)
      for (const event of CAPTURE_EVENTS) await run(createTriggerSql('sales', event, relation));
    await run(`update sales set amount = 0 where region = 'us'`);
    assert.equal((await log.logged()).length, 1);
  });
});
