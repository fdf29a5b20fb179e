import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { Pool } from 'pg';
import { logTable } from '../../../src/connections/postgres/capture-ddl.ts';
import { capture, mappingOf, run, together, type Captured } from './captured.ts';
import { createDatabase, type TestDatabase } from './database.ts';

let database: TestDatabase;
let pool: Pool;
before(async () => {
  database = await createDatabase();
  pool = database.pool;
});
after(() => database.drop());

describe('a history (SCD2)', () => {
  const mapping = mappingOf('staff', ['emp_id'], { emp_id: 'bigint', name: 'text' });
  const history = { onDate: 'on_date', offDate: 'off_date' };
  const person = (id: number, name: string) => JSON.stringify({ emp_id: String(id), name });
  let log: Captured;
  before(async () => {
    await run(
      pool,
      `create table staff (emp_id bigint, name text, is_active boolean not null, on_date timestamptz,
         off_date timestamptz, primary key (emp_id, on_date))`,
    );
    log = await capture(pool, { table: 'public.staff', mapping, history });
  });
  beforeEach(async () => {
    await run(
      pool,
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
      await together(pool, ...sql);
      assert.deepEqual(await log.net(), expected.toSorted());
    });

  it('a version is not ended before it began, and one far ahead freezes nothing', async () => {
    const at = async (onDate: string) => {
      await run(
        pool,
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
