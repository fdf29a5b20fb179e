import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { Pool } from 'pg';
import { logTable } from '../../../src/connections/postgres/capture-ddl.ts';
import { capture, copyIn, mappingOf, run, together, type Captured } from './captured.ts';
import { createDatabase, type TestDatabase } from './database.ts';

let database: TestDatabase;
let pool: Pool;
before(async () => {
  database = await createDatabase();
  pool = database.pool;
});
after(() => database.drop());

/** A user who loses one of these has a Delta table that differs from Postgres, and no sign of it. */
describe('a plain table', () => {
  const mapping = mappingOf('pay', ['id'], { id: 'bigint', name: 'text', salary: 'numeric(12,2)' });
  const row = (id: number, name: string | null, salary: string) =>
    JSON.stringify({ id: String(id), name, salary });
  let log: Captured;
  before(async () => {
    await run(pool, 'create table pay (id bigint primary key, name text, salary numeric(12,2), note text)');
    log = await capture(pool, { table: 'public.pay', mapping, history: null });
  });
  beforeEach(async () => {
    await run(pool, 'delete from pay', `insert into pay values (1, 'a', 1), (2, 'b', 2), (3, null, 3)`);
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
      await run(pool, ...sql);
      // Nothing at all, not only nothing in sum.
      if (expected.length === 0) assert.deepEqual(await log.logged(), []);
      else assert.deepEqual(await log.net(), expected.toSorted());
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
      pool,
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
      pool,
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
    await run(pool, 'begin; truncate pay; rollback');
    assert.deepEqual(await log.net(), []);
  });

  it('what our own sink writes is not logged, and what others write besides it is', async () => {
    await together(
      pool,
      `set local deltaferry.origin = 'delta'`,
      `insert into pay values (40, 'x', 1)`,
      'update pay set salary = 0',
      'delete from pay where id = 1',
      'truncate pay',
    );
    assert.deepEqual(await log.net(), []);
    // The setting ends with its transaction.
    await run(pool, `insert into pay values (41, 'x', 1)`);
    assert.deepEqual(await log.net(), [`41: null → ${row(41, 'x', '1.00')}`]);
  });

  it('a trigger of the user’s that updates the row again', async () => {
    await run(
      pool,
      `create function bump() returns trigger language plpgsql as $$ begin
         update pay set salary = new.salary + 100 where id = new.id; return null; end $$`,
      `create trigger bump after insert or update of name on pay for each row execute function bump()`,
    );
    try {
      await run(pool, `insert into pay values (50, 'x', 1)`, `update pay set name = 'z' where id in (1, 2)`);
    } finally {
      await run(pool, 'drop function bump cascade');
    }
    assert.deepEqual(await log.net(), [
      `1: ${row(1, 'a', '1.00')} → ${row(1, 'z', '101.00')}`,
      `2: ${row(2, 'b', '2.00')} → ${row(2, 'z', '102.00')}`,
      `50: null → ${row(50, 'x', '101.00')}`,
    ]);
  });

  it('a trigger of the user’s that changes the row before it is written', async () => {
    await run(
      pool,
      `create function shout() returns trigger language plpgsql as $$ begin new.name = upper(new.name); return new; end $$`,
      'create trigger shout before insert or update on pay for each row execute function shout()',
    );
    try {
      await run(pool, `insert into pay values (51, 'x', 1)`);
    } finally {
      await run(pool, 'drop function shout cascade');
    }
    assert.deepEqual(await log.net(), [`51: null → ${row(51, 'X', '1.00')}`]);
  });

  it('rows that a foreign key deletes or empties with others', async () => {
    await run(
      pool,
      'create table dept (name text primary key)',
      `insert into dept values ('a'), ('b')`,
      'alter table pay add constraint dept foreign key (name) references dept on delete cascade on update cascade',
    );
    try {
      await run(pool, `delete from dept where name = 'a'`, `update dept set name = 'B' where name = 'b'`);
    } finally {
      await run(pool, 'alter table pay drop constraint dept', 'drop table dept');
    }
    assert.deepEqual(await log.net(), [
      `1: ${row(1, 'a', '1.00')} → null`,
      `2: ${row(2, 'b', '2.00')} → ${row(2, 'B', '2.00')}`,
    ]);
  });

  it('knows the transaction of a change, and its time', async () => {
    const before = await pool.query<{ now: string }>('select clock_timestamp() as now');
    await run(pool, `update pay set salary = 77 where id = 1`);
    const found = await pool.query<{ own: boolean; timely: boolean }>(
      `select xid < pg_current_xact_id() as own, changed_at between $1 and clock_timestamp() as timely
       from ${logTable('pay')} order by change_id desc limit 1`,
      [before.rows[0]!.now],
    );
    assert.deepEqual(found.rows, [{ own: true, timely: true }]);
  });

  it('a session that goes on while columns come and go', async () => {
    const client = await pool.connect();
    try {
      const write = () => client.query('update pay set salary = salary + 1 where id = 1');
      await write();
      await pool.query(`alter table pay add column extra int default 7`);
      await write();
      await pool.query('alter table pay drop column note, alter column salary type numeric(14,2)');
      await write();
    } finally {
      client.release();
      await run(
        pool,
        'alter table pay drop column extra, add column note text, alter column salary type numeric(12,2)',
      );
    }
    assert.deepEqual(
      (await log.logged()).map(({ before, after }) => [before?.['salary'], after?.['salary']]),
      [
        ['1.00', '2.00'],
        ['2.00', '3.00'],
        ['3.00', '4.00'],
      ],
    );
  });

  it('a table of many columns, and one of nothing but its key', async () => {
    const names = Array.from({ length: 300 }, (_, n) => `c${n}`);
    await run(
      pool,
      `create table many (id bigint primary key, ${names.map((name) => `${name} int`).join(', ')})`,
      'create table few (id bigint primary key)',
    );
    const columns = { id: 'bigint', ...Object.fromEntries(names.map((name) => [name, 'integer'])) };
    const many = await capture(pool, {
      table: 'public.many',
      mapping: mappingOf('many', ['id'], columns),
      history: null,
    });
    const few = await capture(pool, {
      table: 'public.few',
      mapping: mappingOf('few', ['id'], { id: 'bigint' }),
      history: null,
    });
    await run(
      pool,
      'insert into many (id, c299) values (1, 5)',
      'update many set c0 = 1',
      'insert into few values (1)',
      'update few set id = 1',
      'update few set id = 2',
    );
    const [inserted, updated] = await many.logged();
    assert.equal(Object.keys(inserted?.after ?? {}).length, 301);
    assert.deepEqual(
      [updated?.after?.['c0'], updated?.after?.['c299'], updated?.after?.['c1']],
      ['1', '5', null],
    );
    assert.deepEqual(
      await few.net(),
      ['1: null → {"id":"1"}', '1: {"id":"1"} → null', '2: null → {"id":"2"}'].toSorted(),
    );
  });

  it('a renamed table is logged under its old name here, TRUNCATE as well', async () => {
    await run(pool, 'alter table pay rename to wages');
    try {
      await run(pool, 'update wages set salary = 5 where id = 1', 'truncate wages');
    } finally {
      await run(pool, 'alter table wages rename to pay');
    }
    assert.equal((await log.net()).length, 4);
  });

  it('50,000 rows in one statement, with little memory to join them', async () => {
    await run(pool, `insert into pay select i, 'e' || i, 1 from generate_series(1001, 51000) i`);
    await log.logged();
    await together(pool, `set local work_mem = '64kB'`, 'update pay set salary = salary + 1 where id > 1000');
    const counted = await pool.query<{ rows: string; keys: string }>(
      `select count(*) as rows, count(distinct key) as keys from ${logTable('pay')}
       where key::bigint > 1000 and before ->> 'salary' = '1.00' and after ->> 'salary' = '2.00'`,
    );
    assert.deepEqual(counted.rows, [{ rows: '50000', keys: '50000' }]);
  });
});
