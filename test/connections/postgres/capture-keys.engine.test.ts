import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { Pool } from 'pg';
import { CAPTURE_EVENTS, createTriggerSql } from '../../../src/connections/postgres/capture-ddl.ts';
import { capture, mappingOf, run, type Captured } from './captured.ts';
import { createDatabase, type TestDatabase } from './database.ts';

let database: TestDatabase;
let pool: Pool;
before(async () => {
  database = await createDatabase();
  pool = database.pool;
});
after(() => database.drop());

describe('keys', () => {
  it('of several columns are a JSON array, whatever is in them', async () => {
    await run(
      pool,
      'create table places (land text, zip varchar(8), "day" date, what text, primary key (land, zip, "day"))',
    );
    const mapping = mappingOf('places', ['zip', 'land', 'day'], {
      land: 'text',
      zip: 'varchar(8)',
      day: 'date',
      what: 'text',
    });
    const log = await capture(pool, { table: 'public.places', mapping, history: null });
    await run(
      pool,
      `insert into places values ('d"e', '1,2', '2026-01-02', 'x')`,
      `update places set land = 'at'`,
    );
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
      pool,
      `create collation anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
      'create table words (word text collate anycase primary key, n int)',
    );
    const mapping = mappingOf('words', ['word'], { word: 'text', n: 'integer' });
    const log = await capture(pool, { table: 'public.words', mapping, history: null });
    await run(pool, `insert into words values ('a', 1)`, `update words set word = 'A'`);
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
      pool,
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
    await run(pool, `delete from sales`, `insert into sales values ('de', 1, 10), ('us', 2, 20)`);
    await log.logged();
  });

  it('logs what is written to it, also where a row moves to another partition', async () => {
    await run(
      pool,
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
      pool,
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
    await run(pool, `create table sales_eu_fr partition of sales_eu for values in ('fr')`);
    await run(pool, `insert into sales values ('fr', 5, 50)`, 'truncate sales');
    const deleted = (await log.logged()).filter(({ op }) => op === 'D').map(({ key }) => key);
    const added = '["fr", "5"]';
    // Without a trigger of its own it is logged by both tables above it, which by its net effect is once.
    assert.ok(deleted.includes(added));
    assert.deepEqual(deleted.filter((key) => key !== added).toSorted(), ['["de", "1"]', '["us", "2"]']);
    await run(pool, 'drop table sales_eu_fr');
  });

  it('can get its triggers again and again', async () => {
    for (const relation of RELATIONS)
      for (const event of CAPTURE_EVENTS) await run(pool, createTriggerSql('sales', event, relation));
    await run(pool, `update sales set amount = 0 where region = 'us'`);
    assert.equal((await log.logged()).length, 1);
  });
});
