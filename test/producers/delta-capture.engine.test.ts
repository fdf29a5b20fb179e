import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { TableMapping } from '../../src/change/table.ts';
import { createDeltaSource } from '../../src/connections/databricks/delta-source.ts';
import { describeError, OperatorError } from '../../src/errors.ts';
import { sleep } from '../../src/flow/sleep.ts';
import type { DeltaFeedOptions } from '../../src/producers/delta-feed-deps.ts';
import {
  EMPLOYEE_COLUMNS,
  openTestWarehouse,
  type TestWarehouse,
} from '../connections/databricks/warehouse.ts';
import { employees } from './employees.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { startFeed, type FeedRun } from './feed-run.ts';

/** Every rule of "Delta capture" (docs/SPEC.md) on a real table; only the topic is in memory. */
let warehouse: TestWarehouse;
let topic: FakeTopic;
let runs: FeedRun[];
before(async () => {
  warehouse = await openTestWarehouse();
});
after(() => warehouse?.close());
beforeEach(() => {
  topic = new FakeTopic();
  runs = [];
});
afterEach(async () => {
  for (const run of runs) await run.drain();
});

const NAMED_COLUMNS = `, 'delta.columnMapping.mode' = 'name'`;
const sql = (text: string) => warehouse.sql(text);

function start(
  table: string,
  options: Partial<DeltaFeedOptions> = {},
  mapping: TableMapping = employees,
): FeedRun {
  const run = startFeed({
    mapping,
    source: createDeltaSource({ client: warehouse.client, table, mapping }),
    log: topic.log(),
    leadership: new FakeLeadership().port(),
    clock: { now: () => performance.now(), sleep },
    options,
  });
  runs.push(run);
  return run;
}

async function upTo(version: number): Promise<void> {
  const what = (): string => `version ${version}, at ${JSON.stringify(topic.position)}`;
  const stopped = (): boolean => runs.some((run) => run.state().name === 'stopped');
  await until(() => topic.position?.['version'] === version || stopped(), what(), 60_000);
  for (const run of runs) {
    const state = run.state();
    if (state.name === 'stopped') throw new Error(describeError(state.error), { cause: state.error });
  }
}

async function stops(run: FeedRun, code: string): Promise<OperatorError> {
  await until(() => run.state().name === 'stopped', `it stops, now ${JSON.stringify(run.state())}`, 60_000);
  const state = run.state();
  assert.ok(state.name === 'stopped' && state.error instanceof OperatorError, JSON.stringify(state));
  assert.equal(state.error.code, code, state.error.message);
  assert.match(state.error.remedy ?? '', /deltaferry backfill employees/);
  return state.error;
}

const records = (): string[] =>
  topic.changes.map(
    ({ position, op, key, before, after }) =>
      `${position} ${op} ${key} ${String(before?.[1] ?? '')}→${String(after?.[1] ?? '')}`,
  );

describe('Delta capture: changes', () => {
  it('insert, update, delete and a changed key, with the time of the commit', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 10), (2, 'Bob', 20.25), (3, 'Cid', NULL)`);
    start(table);
    await upTo(1);
    await sql(`UPDATE ${table} SET salary = salary + 1 WHERE emp_id < 3`);
    await sql(`DELETE FROM ${table} WHERE emp_id = 3`);
    await sql(`UPDATE ${table} SET emp_id = 9 WHERE emp_id = 2`);
    await upTo(4);
    assert.deepEqual(records(), [
      '1 insert 1 →Ann',
      '1 insert 2 →Bob',
      '1 insert 3 →Cid',
      '2 update 1 Ann→Ann',
      '2 update 2 Bob→Bob',
      '3 delete 3 Cid→',
      '4 delete 2 Bob→',
      '4 insert 9 →Bob',
    ]);
    assert.deepEqual(topic.changes[4]?.before, [2, 'Bob', '20.25']);
    assert.deepEqual(topic.changes[4]?.after, [2, 'Bob', '21.25']);
    const [commit] = await sql(
      `SELECT DISTINCT cast(unix_micros(_commit_timestamp) AS string) AS ts FROM table_changes('${table}', 3, 3)`,
    );
    assert.equal(String(topic.changes[5]?.ts), commit?.['ts']);
  });

  it('unchanged rows rewritten by MERGE, OVERWRITE and RESTORE are dropped; delete and insert are an update', async () => {
    const table = await warehouse.table(`${EMPLOYEE_COLUMNS}, note STRING`);
    await sql(`INSERT INTO ${table} SELECT id, concat('n', id), 1, 'x' FROM range(100)`);
    await sql(
      `MERGE INTO ${table} t USING (SELECT id AS emp_id, if(id = 7, 'seven', concat('n', id)) AS name FROM range(102)) s ON t.emp_id = s.emp_id
       WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (emp_id, name) VALUES (s.emp_id, s.name)`,
    );
    await sql(
      `INSERT OVERWRITE ${table} SELECT emp_id, if(emp_id = 8, 'eight', name), salary, note FROM ${table} WHERE emp_id <> 9`,
    );
    await sql(`UPDATE ${table} SET note = 'not mapped'`);
    await sql(`RESTORE TABLE ${table} TO VERSION AS OF 1`);
    start(table);
    await upTo(5);
    assert.deepEqual(records().slice(100), [
      '2 update 7 n7→seven',
      '2 insert 100 →n100',
      '2 insert 101 →n101',
      '3 update 8 n8→eight',
      '3 delete 9 n9→',
      '5 update 7 seven→n7',
      '5 update 8 eight→n8',
      '5 insert 9 →n9',
      '5 delete 100 n100→',
      '5 delete 101 n101→',
    ]);
  });

  it('duplicate keys are dead-lettered with their rows, and so are rows without a key', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(
      `INSERT INTO ${table} VALUES (1, 'Ann', 1), (2, 'Bob', 1), (2, 'Bab', 2), (NULL, 'Nobody', 1), (4, 'Dan', 1)`,
    );
    start(table);
    await upTo(1);
    assert.deepEqual(records(), ['1 insert 1 →Ann', '1 insert 4 →Dan']);
    const [missing, duplicate] = topic.rejected;
    assert.deepEqual(
      [missing?.code, duplicate?.code, duplicate?.key, duplicate?.position],
      ['KEY_MISSING', 'DUPLICATE_KEY', '2', 1],
    );
    assert.match(duplicate?.payload ?? '', /Bob/);
    assert.match(duplicate?.payload ?? '', /Bab/);
  });

  it('versions with the mark of a sink of ours are passed over whole: updates, inserts and deletes', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1), (2, 'Bob', 1)`);
    const run = start(table);
    await upTo(1);
    const mark = 'deltaferry/employees 0:1042,1:977';
    await sql(
      `MERGE INTO ${table} t USING (SELECT *, '${mark}' AS ferry FROM VALUES (1L, 'Eve', false), (2L, '', true), (3L, 'New', false) AS v(id, name, gone)) s
       ON t.emp_id = s.id AND s.ferry = '${mark}'
       WHEN MATCHED AND s.gone THEN DELETE WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (emp_id, name) VALUES (s.id, s.name)`,
    );
    await upTo(2);
    await sql(`UPDATE ${table} SET name = 'deltaferry/mine 0:1' WHERE name <> 'deltaferry/other 0:1'`);
    await upTo(3);
    assert.deepEqual(records().slice(2), [
      '3 update 1 Eve→deltaferry/mine 0:1',
      '3 update 3 New→deltaferry/mine 0:1',
    ]);
    assert.equal(run.state().name, 'polling');
  });

  it('a commit larger than a transaction is resumed in its midst, nothing twice, nothing missing', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(`INSERT INTO ${table} SELECT id, concat('n', id), 1 FROM range(0, 3000, 1, 4)`);
    const first = start(table, { maxBatchChanges: 400 });
    await until(() => topic.transactions.length >= 2, 'two transactions', 60_000);
    await first.drain();
    const cut = topic.position;
    start(table, { maxBatchChanges: 700 });
    await upTo(1);
    assert.ok(cut?.['version'] === 1 || Number(cut?.['groups']) % 400 === 0, JSON.stringify(cut));
    assert.deepEqual(
      topic.changes.map(({ key }) => Number(key)),
      Array.from({ length: 3000 }, (_, id) => id),
    );
  });
});

describe('Delta capture: schema changes', () => {
  it('a column added inside the range reads as null before it', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1)`);
    await sql(`ALTER TABLE ${table} ADD COLUMN title STRING`);
    await sql(`INSERT INTO ${table} VALUES (2, 'Bob', 1, 'Dr')`);
    const mapping = {
      ...employees,
      columns: [...employees.columns, { name: 'title', type: { name: 'text' } as const }],
    };
    start(table, {}, mapping);
    await upTo(3);
    assert.deepEqual(
      topic.changes.map(({ after }) => after?.[3]),
      [null, 'Dr'],
    );
  });

  it('with column mapping too, also where a statement ends before the column was there', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS, NAMED_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1)`);
    await sql(`ALTER TABLE ${table} ADD COLUMN title STRING`);
    await sql(`INSERT INTO ${table} VALUES (2, 'Bob', 1, 'Dr')`);
    const mapping = {
      ...employees,
      columns: [...employees.columns, { name: 'title', type: { name: 'text' } as const }],
    };
    start(table, { maxVersionsPerRead: 1 }, mapping);
    await upTo(3);
    assert.deepEqual(
      topic.changes.map(({ after }) => after?.[3]),
      [null, 'Dr'],
    );
  });

  it('a column dropped inside the range splits it; the mapped ones are read on both sides', async () => {
    const table = await warehouse.table(`${EMPLOYEE_COLUMNS}, gone STRING`, NAMED_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1, 'x')`);
    await sql(`ALTER TABLE ${table} DROP COLUMN gone`);
    await sql(`INSERT INTO ${table} VALUES (2, 'Bob', 1)`);
    await sql(`UPDATE ${table} SET name = 'Anna' WHERE emp_id = 1`);
    start(table);
    await upTo(4);
    assert.deepEqual(records(), ['1 insert 1 →Ann', '3 insert 2 →Bob', '4 update 1 Ann→Anna']);
  });

  it('a mapped column that is renamed stops the table and is named', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS, NAMED_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1)`);
    await sql(`ALTER TABLE ${table} RENAME COLUMN name TO full_name`);
    await sql(`INSERT INTO ${table} VALUES (2, 'Bob', 1)`);
    const run = start(table);
    const error = await stops(run, 'DELTA_COLUMN_MISSING');
    assert.match(error.message, /\bname\b/);
    assert.ok(topic.changes.every(({ key }) => key === '1'));
  });
});

describe('Delta capture: what stops the table, with the remedy', () => {
  it('vacuumed versions', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1)`);
    await sql(`UPDATE ${table} SET name = 'Anna'`);
    await sql('SET spark.databricks.delta.retentionDurationCheck.enabled = false');
    await sql(`VACUUM ${table} RETAIN 0 HOURS`);
    await stops(start(table), 'DELTA_VERSIONS_GONE');
    assert.deepEqual(topic.changes, []);
  });

  it('versions from before the feed was switched on', async () => {
    const table = warehouse.name();
    await sql(`CREATE TABLE ${table} (${EMPLOYEE_COLUMNS}) USING DELTA`);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1)`);
    await sql(`ALTER TABLE ${table} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)`);
    await stops(start(table), 'DELTA_VERSIONS_GONE');
  });

  it('a replaced table', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1)`);
    const run = start(table);
    await upTo(1);
    await run.drain();
    await sql(
      `CREATE OR REPLACE TABLE ${table} (${EMPLOYEE_COLUMNS}) USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true)`,
    );
    await stops(start(table), 'DELTA_TABLE_REPLACED');
    assert.deepEqual(records(), ['1 insert 1 →Ann']);
  });

  it('a table dropped and created anew under a running feed, with more versions than before', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await sql(`INSERT INTO ${table} VALUES (1, 'Ann', 1)`);
    const run = start(table, { stoppedRetryMs: 200 });
    await upTo(1);
    await sql(`DROP TABLE ${table}`);
    await until(() => run.state().name === 'stopped', 'it misses its table', 60_000);
    await sql(
      `CREATE TABLE ${table} (${EMPLOYEE_COLUMNS}) USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true)`,
    );
    for (const id of [5, 6, 7]) await sql(`INSERT INTO ${table} VALUES (${id}, 'other', 1)`);
    const replaced = (): boolean => {
      const state = run.state();
      return (
        state.name === 'stopped' &&
        state.error instanceof OperatorError &&
        state.error.code === 'DELTA_TABLE_REPLACED'
      );
    };
    await until(replaced, 'it sees another table', 60_000);
    assert.deepEqual(records(), ['1 insert 1 →Ann']);
  });
});
