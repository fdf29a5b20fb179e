import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pool } from 'pg';
import { createCapturedTables } from '../../src/connections/postgres/captured-table.ts';
import { createCaptureSql } from '../../src/connections/postgres/capture-ddl.ts';
import { NEW_ROWS, OLD_ROWS } from '../../src/connections/postgres/capture-sql.ts';
import { migrate } from '../../src/connections/postgres/migrate.ts';
import { planCapture } from '../../src/setup/plan-capture.ts';
import { mismatchesOf } from '../../src/setup/plan.ts';
import { setupLines } from '../../src/setup/report.ts';
import type { SetupRequest, SetupTable } from '../../src/setup/request.ts';
import { setup } from '../../src/setup/setup.ts';
import { uninstall, uninstallLines } from '../../src/setup/uninstall.ts';
import { mapping } from './existing-things.ts';
import { fakePorts } from './fake-ports.ts';
import { ownDatabase, type OwnDatabase } from './own-database.ts';
import { openSite, type Site } from './site.ts';

/** What is planned from facts is only worth as much as the facts: here they come from a real catalog. */
describe('capture in the catalog', () => {
  let database: OwnDatabase;
  let pool: Pool;
  before(async () => {
    database = await ownDatabase('setup_capture');
    pool = database.pool;
    await migrate(pool);
  });
  after(() => database.drop());

  const plain = (name: string, columns: Readonly<Record<string, string>>, key = ['id']): SetupTable => ({
    mapping: { ...mapping(columns, key), name },
    topic: `${name}_changes`,
    captured: { table: `public.${name}`, history: null },
  });

  const ports = () => fakePorts({ captures: createCapturedTables(pool) });
  const install = (...tables: readonly SetupTable[]) => setup({ tables }, ports());

  async function findings(table: SetupTable): Promise<readonly string[]> {
    const target = { ...table.captured!, mapping: table.mapping };
    const facts = await createCapturedTables(pool).describe(target);
    return planCapture(table, facts).map(({ kind, detail }) => `${kind}: ${detail}`);
  }

  it('is found as it was installed, every part of it, and what is changed is noticed and mended', async () => {
    await pool.query('create table plain (id bigint primary key, "a b" text, off boolean)');
    const table = plain('plain', { id: 'bigint', 'a b': 'text' });
    assert.equal((await install(table)).outcome, 'done');
    const fits = ['ok: log, function and triggers are in place'];
    assert.deepEqual(await findings(table), fits);
    const unlessOurs = `when (coalesce(current_setting('deltaferry.origin', true), '') = '')`;
    const damages: readonly (readonly [sql: string, found: string])[] = [
      ['drop trigger deltaferry_plain_insert on plain', 'create: triggers for INSERT'],
      ['alter table plain disable trigger deltaferry_plain_update', 'create: triggers for UPDATE'],
      ['alter table plain enable replica trigger deltaferry_plain_delete', 'create: triggers for DELETE'],
      [
        `create or replace trigger deltaferry_plain_delete after delete on plain referencing old table as ${OLD_ROWS}
           for each statement execute function deltaferry.log_to_kafka_plain()`,
        'create: triggers for DELETE',
      ],
      [
        `create or replace trigger deltaferry_plain_delete after delete on plain referencing old table as others
           for each statement ${unlessOurs} execute function deltaferry.log_to_kafka_plain()`,
        'create: triggers for DELETE',
      ],
      [
        `create or replace trigger deltaferry_plain_insert after insert on plain referencing new table as others
           for each statement ${unlessOurs} execute function deltaferry.log_to_kafka_plain()`,
        'create: triggers for INSERT',
      ],
      [
        `create function logs_nothing() returns trigger language plpgsql as 'begin return null; end';
         create or replace trigger deltaferry_plain_insert after insert on plain referencing new table as ${NEW_ROWS}
           for each statement ${unlessOurs} execute function logs_nothing()`,
        'create: triggers for INSERT',
      ],
      [
        `create or replace trigger deltaferry_plain_truncate after truncate on plain
           for each statement ${unlessOurs} execute function deltaferry.log_to_kafka_plain()`,
        'create: triggers for TRUNCATE',
      ],
      ['alter function deltaferry.log_to_kafka_plain() set search_path = public', 'create: function anew'],
      ['alter function deltaferry.log_to_kafka_plain() set datestyle = iso', 'create: function anew'],
      ['alter function deltaferry.log_to_kafka_plain() security invoker', 'create: function anew'],
      ['grant execute on function deltaferry.log_to_kafka_plain() to public', 'create: function anew'],
      [
        'drop function deltaferry.log_to_kafka_plain() cascade',
        'create: function, triggers for INSERT, UPDATE, DELETE, TRUNCATE',
      ],
    ];
    for (const [sql, found] of damages) {
      await pool.query(sql);
      assert.deepEqual(await findings(table), [found], sql);
      assert.equal((await install(table)).outcome, 'done', sql);
      assert.deepEqual(await findings(table), fits, sql);
    }
    const otherLog = /^mismatch: .* is not the log that this version writes to/;
    await pool.query('alter table deltaferry.plain_changes add column note text');
    assert.match((await findings(table))[0] ?? '', otherLog);
    await pool.query('alter table deltaferry.plain_changes drop column note');
    assert.deepEqual(await findings(table), fits);
    await pool.query('drop table deltaferry.plain_changes_default');
    assert.match((await findings(table))[0] ?? '', otherLog);
  });

  it('follows the mapping: a column more is logged from the next setup on', async () => {
    await pool.query('create table grows (id bigint primary key, a text, b text)');
    await install(plain('grows', { id: 'bigint', a: 'text' }));
    const grown = plain('grows', { id: 'bigint', a: 'text', b: 'text' });
    assert.deepEqual(await findings(grown), ['create: function anew']);
    await pool.query(`insert into grows values (1, 'a', 'b')`);
    await install(grown);
    await pool.query(`update grows set b = 'c'`);
    const { rows } = await pool.query<{ after: string }>(
      'select after::text from deltaferry.grows_changes order by change_id',
    );
    assert.deepEqual(
      rows.map(({ after }) => JSON.parse(after) as unknown),
      [
        { id: '1', a: 'a' },
        { id: '1', a: 'a', b: 'c' },
      ],
    );
  });

  it('covers every partition, and those that come later at the next setup', async () => {
    await pool.query(
      `create table parts (id bigint primary key, a text) partition by range (id);
       create table "parts Low" partition of parts for values from (0) to (10) partition by range (id);
       create table parts_low_1 partition of "parts Low" for values from (0) to (5)`,
    );
    const table = plain('parts', { id: 'bigint', a: 'text' });
    await install(table);
    assert.deepEqual(await findings(table), ['ok: log, function and triggers are in place']);
    await pool.query('create table parts_low_2 partition of "parts Low" for values from (5) to (10)');
    assert.deepEqual(await findings(table), ['create: triggers for INSERT, UPDATE, DELETE, TRUNCATE']);
    await install(table);
    await pool.query('alter table "parts Low" detach partition parts_low_2');
    const [stray] = await findings(table);
    assert.match(stray ?? '', /^mismatch: public.parts_low_2 is not part of it/);
    const target = { ...table.captured!, mapping: table.mapping };
    const [step] = planCapture(table, await createCapturedTables(pool).describe(target));
    for (const sql of step?.sql ?? []) await pool.query(sql);
    assert.deepEqual(await findings(table), ['ok: log, function and triggers are in place']);
    assert.match(
      (await findings(plain('parts_low_1', { id: 'bigint' })))[0] ?? '',
      /is a partition: .*public."parts Low"/,
    );
  });

  it('knows what cannot be captured', async () => {
    await pool.query(
      `create table no_key (id bigint);
       create table base (id bigint primary key);
       create table heir (primary key (id)) inherits (base);
       create table computes (id bigint primary key, a int, b int generated always as (a * 2) stored);
       create table late (id bigint primary key deferrable initially deferred);
       create unlogged table lost (id bigint primary key);
       create view seen as select * from base`,
    );
    const first = async (table: SetupTable) => (await findings(table))[0] ?? '';
    assert.match(await first(plain('no_key', { id: 'bigint' })), /has no primary key/);
    assert.match(await first(plain('base', { id: 'bigint' })), /by INHERITS/);
    assert.match(await first(plain('heir', { id: 'bigint' })), /by INHERITS/);
    assert.match(
      await first(plain('computes', { id: 'bigint', b: 'integer' })),
      /column b is a generated column/,
    );
    assert.deepEqual(await findings(plain('computes', { id: 'bigint', a: 'integer' })), [
      'create: log, function, triggers for INSERT, UPDATE, DELETE, TRUNCATE',
    ]);
    assert.match(await first(plain('late', { id: 'bigint' })), /is deferrable/);
    assert.match(await first(plain('lost', { id: 'bigint' })), /is UNLOGGED/);
    assert.match(await first(plain('seen', { id: 'bigint' })), /is a view/);
    assert.match(await first(plain('nowhere', { id: 'bigint' })), /there is no such table/);
  });

  it('gives up soon where a transaction does not let go of the table, so that writers do not queue behind it', async () => {
    await pool.query('create table busy (id bigint primary key)');
    const table = plain('busy', { id: 'bigint' });
    const holder = await pool.connect();
    try {
      await holder.query('begin; insert into busy values (1)');
      await assert.rejects(install(table), { code: 'POSTGRES_55P03', kind: 'transient' });
      const left = await pool.query(`select from pg_class where relname like 'busy\\_changes%'`);
      assert.equal(left.rowCount, 0);
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    assert.equal((await install(table)).outcome, 'done');
  });

  it('is installed once when setups meet', async () => {
    await pool.query('create table meets (id bigint primary key)');
    const table = plain('meets', { id: 'bigint' });
    const results = await Promise.allSettled([1, 2, 3].map(() => install(table)));
    assert.deepEqual(
      results.map((result) => (result.status === 'fulfilled' ? result.value.outcome : result.reason)),
      ['done', 'done', 'done'],
    );
    await pool.query('insert into meets values (1)');
    assert.equal((await pool.query('select from deltaferry.meets_changes')).rowCount, 1);
  });

  it('a body whose columns are named like the end of it is still one', async () => {
    await pool.query(`create table dollars (id bigint primary key, "$capture$" text, "$capture1$; --" text)`);
    const table = plain('dollars', { id: 'bigint', $capture$: 'text', '$capture1$; --': 'text' });
    assert.equal((await install(table)).outcome, 'done');
    await pool.query(`insert into dollars values (1, 'a', 'b')`);
    assert.deepEqual(await findings(table), ['ok: log, function and triggers are in place']);
  });

  it('takes the longest name that leaves room for all of its parts', async () => {
    const name = 'l'.repeat(41);
    await pool.query(`create table ${name} (id bigint primary key)`);
    assert.equal((await install(plain(name, { id: 'bigint' }))).outcome, 'done');
    const result = await install(plain(`${name}l`, { id: 'bigint' }));
    assert.match(mismatchesOf(result.plan)[0]?.detail ?? '', /too long to be captured .* 1 bytes? shorter/);
  });

  it('is uninstalled, with a word on what goes with it', async () => {
    await pool.query('create table goes (id bigint primary key)');
    const table = plain('goes', { id: 'bigint' });
    await install(table);
    await pool.query('insert into goes select generate_series(1, 3)');
    const { rows } = await pool.query<{ at: string }>('select pg_current_snapshot()::text as at');
    await pool.query('delete from goes where id = 1');
    const captures = createCapturedTables(pool);
    const known = { ...captures, published: () => Promise.resolve(rows[0]!.at) };
    const names = [
      { name: 'goes', table: 'public.goes' },
      { name: 'never', table: 'public.never' },
    ];
    const planned = await uninstall(names, known, { dryRun: true });
    assert.deepEqual(uninstallLines(planned), [
      'remove    capture of public.goes: triggers, function and log deltaferry.goes_changes, with 4 rows; not published, and lost to Delta: 1 row',
      '            DROP FUNCTION IF EXISTS deltaferry."log_to_kafka_goes"() CASCADE;',
      '            DROP TABLE IF EXISTS deltaferry."goes_changes";',
      'ok        capture of public.never: there is none',
      '1 to remove. Nothing was changed: this was a dry run.',
    ]);
    assert.deepEqual(await findings(table), ['ok: log, function and triggers are in place']);
    const done = await uninstall(names, known);
    assert.deepEqual(uninstallLines(done), [
      'remove    capture of public.goes: triggers, function and log deltaferry.goes_changes, with 4 rows; not published, and lost to Delta: 1 row',
      'ok        capture of public.never: there is none',
      '1 removed. The tables themselves are as they were.',
    ]);
    const left = await pool.query(
      `select from pg_trigger where tgrelid = 'goes'::regclass union all
       select from pg_class where relname like 'goes\\_changes%' union all
       select from pg_proc where proname = 'log_to_kafka_goes'`,
    );
    assert.equal(left.rowCount, 0);
    await pool.query('update goes set id = id + 10; truncate goes');
    assert.equal(uninstallLines(await uninstall(names, known)).at(-1), 'Nothing to remove.');
    assert.equal((await install(table)).outcome, 'done');
  });

  it('removes triggers that are left without their log', async () => {
    await pool.query('create table half (id bigint primary key)');
    await install(plain('half', { id: 'bigint' }));
    await pool.query('drop table deltaferry.half_changes');
    const known = { ...createCapturedTables(pool), published: () => Promise.resolve(null) };
    const result = await uninstall([{ name: 'half', table: 'public.half' }], known);
    assert.equal(uninstallLines(result)[0], 'remove    capture of public.half: triggers and function');
    await pool.query('insert into half values (1)');
  });

  it('the statements that a person copies are those that run', async () => {
    await pool.query('create table copied (id bigint primary key)');
    const target = {
      table: 'public.copied',
      mapping: { ...mapping({ id: 'bigint' }, ['id']), name: 'copied' },
      history: null,
    };
    const dry = await setup({ tables: [plain('copied', { id: 'bigint' })] }, ports(), { dryRun: true });
    const lines = setupLines(dry).join('\n');
    for (const sql of createCaptureSql(target, ['public.copied']))
      assert.ok(lines.includes(sql.split('\n')[0]!), sql);
  });
});

describe('setup of both directions on the engines', () => {
  let site: Site;
  let request: SetupRequest;
  before(async () => {
    site = await openSite();
    const [table] = site.request.tables;
    const history = { onDate: 'on_date', offDate: 'off_date', isActive: 'is_active' };
    request = {
      ...site.request,
      tables: [{ ...table!, captured: { table: 'public.employees', history } }],
    };
  });
  after(() => site.drop());

  it('creates both tables, the epochs and the capture, and nothing the second time', async () => {
    const done: string[] = [];
    const result = await setup(request, site.ports, { onApplied: ({ what }) => void done.push(what) });
    assert.equal(result.outcome, 'done', setupLines(result).join('\n'));
    assert.deepEqual(done.slice(-4), [
      'history table public.employees',
      `Delta table ${site.name}.employees`,
      `Delta table ${site.name}.deltaferry_epochs`,
      'capture of public.employees',
    ]);
    const again = await setup(request, site.ports);
    assert.equal(setupLines(again).at(-1), 'Everything was there already.', setupLines(again).join('\n'));
    const created = await site.ports.deltas.describe(`${site.name}.employees`);
    assert.equal(created?.properties['delta.enableChangeDataFeed'], 'true');
    assert.equal(created?.properties['delta.enableInCommitTimestamps'], 'true');
    await site.database.pool.query(`insert into employees values (1, 'a', 1, true, now(), null)`);
    const logged = await site.database.pool.query('select from deltaferry.employees_changes');
    assert.equal(logged.rowCount, 1);
  });
});
