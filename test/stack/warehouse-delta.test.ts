// What the product asks of Delta and of files, through the local warehouse and the real client: if one of these changes with an
// upgrade, capture, merging or recovery breaks, and here it is seen first.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { rows, startWarehouse, type Session, type Warehouse } from './warehouse-process.ts';

let warehouse: Warehouse;
let session: Session;

before(async () => {
  warehouse = await startWarehouse();
  session = await warehouse.session();
  await rows(session, 'CREATE SCHEMA hr');
});
after(() => warehouse?.stop());

const first = async (sql: string) => (await rows(session, sql))[0];
const files = (table: string) => join(warehouse.home, 'warehouse/hr.db', table);

describe('change data feed', () => {
  const mark = 'deltaferry/employees 0:1042,1:977';

  test('a table with change data feed and in-commit timestamps takes a MERGE that keeps its mark', async () => {
    await rows(
      session,
      `CREATE TABLE hr.employees (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA
       TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableInCommitTimestamps = true)`,
    );
    await rows(
      session,
      `INSERT INTO hr.employees VALUES (1, 'Ada', 1.00), (2, 'Bob', 2.00), (9007199254740993, '', null)`,
    );
    const merged = await first(
      `MERGE INTO hr.employees t USING (
         SELECT v.*, '${mark}' AS ferry
         FROM VALUES (1L, 'Ada L.', 1.50, 'u'), (2L, null, null, 'd'), (4L, 'Dan', 4.00, 'u') v(emp_id, name, salary, op)
       ) s ON t.emp_id = s.emp_id AND s.ferry = '${mark}'
       WHEN MATCHED AND s.op = 'd' THEN DELETE
       WHEN MATCHED THEN UPDATE SET name = s.name, salary = s.salary
       WHEN NOT MATCHED AND s.op <> 'd' THEN INSERT (emp_id, name, salary) VALUES (s.emp_id, s.name, s.salary)`,
    );
    assert.deepEqual(merged, {
      num_affected_rows: 3n,
      num_updated_rows: 1n,
      num_deleted_rows: 1n,
      num_inserted_rows: 1n,
    });
    const history = await rows(session, 'DESCRIBE HISTORY hr.employees LIMIT 2');
    assert.deepEqual(
      history.map((commit) => [commit['version'], commit['operation']]),
      [
        [2n, 'MERGE'],
        [1n, 'WRITE'],
      ],
    );
    const parameters = history[0]?.['operationParameters'] as { predicate: string };
    assert.ok(parameters.predicate.includes(mark), parameters.predicate);
  });

  test('changes come as text in the order of version and key, with their commit time in microseconds', async () => {
    const changes = await rows(
      session,
      `SELECT to_json(array(string(_commit_version), string(unix_micros(_commit_timestamp)), _change_type,
                            string(emp_id), name, string(salary))) AS change
       FROM table_changes('hr.employees', 1, 2) ORDER BY _commit_version, emp_id, _change_type DESC`,
    );
    const parsed = changes.map((row) => JSON.parse(String(row['change'])) as (string | null)[]);
    assert.deepEqual(
      parsed.map(([version, , ...rest]) => [version, ...rest]),
      [
        ['1', 'insert', '1', 'Ada', '1.00'],
        ['1', 'insert', '2', 'Bob', '2.00'],
        ['1', 'insert', '9007199254740993', '', null],
        ['2', 'update_preimage', '1', 'Ada', '1.00'],
        ['2', 'update_postimage', '1', 'Ada L.', '1.50'],
        ['2', 'delete', '2', 'Bob', '2.00'],
        ['2', 'insert', '4', 'Dan', '4.00'],
      ],
    );
    for (const [, micros] of parsed) assert.match(String(micros), /^\d{16}$/);
    await assert.rejects(rows(session, `SELECT * FROM table_changes('hr.employees', 3, 4)`), {
      message: /DELTA_CDC_START_VERSION_AFTER_LATEST/,
    });
  });

  test('a new column, RESTORE, OPTIMIZE and VACUUM are commits like others', async () => {
    await rows(session, 'ALTER TABLE hr.employees ADD COLUMN dept STRING');
    await rows(session, `UPDATE hr.employees SET dept = 'R&D' WHERE emp_id = 4`);
    await rows(session, 'RESTORE TABLE hr.employees TO VERSION AS OF 2');
    await rows(session, `INSERT INTO hr.employees (emp_id, name) VALUES (5, 'Eve')`);
    await rows(session, 'OPTIMIZE hr.employees');
    await rows(session, 'SET spark.databricks.delta.retentionDurationCheck.enabled = false');
    await rows(session, 'VACUUM hr.employees RETAIN 0 HOURS');
    const operations = (await rows(session, 'DESCRIBE HISTORY hr.employees LIMIT 20')).map(
      (c) => c['operation'],
    );
    for (const expected of ['ADD COLUMNS', 'UPDATE', 'RESTORE', 'OPTIMIZE', 'VACUUM END'])
      assert.ok(operations.includes(expected), `${expected} in ${operations.join(', ')}`);
    assert.deepEqual(await rows(session, 'SELECT emp_id, name FROM hr.employees ORDER BY emp_id'), [
      { emp_id: 1n, name: 'Ada L.' },
      { emp_id: 4n, name: 'Dan' },
      { emp_id: 5n, name: 'Eve' },
      { emp_id: 9007199254740993n, name: '' },
    ]);
  });
});

test('two writers of one table never lose an update: one waits its turn or is told of the conflict', async () => {
  await rows(session, 'CREATE TABLE hr.counter USING DELTA AS SELECT 0 AS n');
  const writers = [session, await warehouse.session()];
  let conflicts = 0;
  const increments = 3;
  await Promise.all(
    writers.map(async (writer) => {
      for (let done = 0; done < increments;) {
        try {
          await rows(writer, 'UPDATE hr.counter SET n = n + 1');
          done += 1;
        } catch (error) {
          assert.match((error as Error).message, /^\[DELTA_CONCURRENT_\w+/);
          conflicts += 1;
        }
      }
    }),
  );
  assert.deepEqual(await first('SELECT n FROM hr.counter'), { n: writers.length * increments });
  assert.ok(conflicts > 0, 'the writers met');
});

test('DROP deletes the files, and a table of the same name begins anew', async () => {
  const create = `CREATE TABLE hr.again USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true) AS SELECT`;
  await rows(session, `${create} 1 AS a`);
  const before = await first('DESCRIBE DETAIL hr.again');
  await rows(session, 'DROP TABLE hr.again');
  assert.equal(existsSync(files('again')), false);
  await rows(session, `${create} 'two' AS b`);
  const now = await first('DESCRIBE DETAIL hr.again');
  assert.notEqual(now?.['id'], before?.['id']);
  assert.deepEqual(await rows(session, `SELECT b, _commit_version v FROM table_changes('hr.again', 0)`), [
    { b: 'two', v: 0n },
  ]);
});

describe('files in volumes', () => {
  const stage = async (sql: string): Promise<void> => {
    const operation = await session.executeStatement(sql, { stagingAllowedLocalPath: warehouse.home });
    await operation.close();
  };

  test('PUT, use, list, GET and REMOVE', async () => {
    const local = join(warehouse.home, 'people.json');
    await writeFile(local, '{"id":1,"name":"Zoë"}\n{"id":2,"name":""}\n');
    await stage(`PUT '${local}' INTO '/Volumes/main/default/in/a b/people.json'`);
    const folder = '/Volumes/main/default/in/a b';
    const read = `SELECT id, name FROM json.\`${folder}\` ORDER BY id`;
    const people = [
      { id: 1n, name: 'Zoë' },
      { id: 2n, name: '' },
    ];
    assert.deepEqual(await rows(session, read), people);
    await rows(session, 'CREATE TABLE people (id BIGINT, name STRING, extra INT) USING DELTA');
    await rows(session, `COPY INTO people FROM '${folder}' FILEFORMAT = JSON`);
    assert.deepEqual(await rows(session, 'SELECT id, name FROM people ORDER BY id'), people);
    const listed = await rows(session, `LIST '${folder}'`);
    assert.deepEqual(
      listed.map((row) => [row['path'], row['size']]),
      [[`${folder}/people.json`, 42n]],
    );
    const back = join(warehouse.home, 'back.json');
    await stage(`GET '${folder}/people.json' TO '${back}'`);
    assert.equal(await readFile(back, 'utf8'), await readFile(local, 'utf8'));
    await assert.rejects(stage(`PUT '${local}' INTO '${folder}/people.json'`), /FILE_ALREADY_EXISTS/);
    await writeFile(local, '{"id":3,"name":"new"}\n');
    await stage(`PUT '${local}' INTO '${folder}/people.json' OVERWRITE`);
    assert.deepEqual(await rows(session, read), [{ id: 3n, name: 'new' }]);
    await stage(`REMOVE '${folder}/people.json'`);
    assert.deepEqual(await rows(session, `LIST '${folder}'`), []);
  });

  test('no path leads out of the volumes, and no URL works without its signature', async () => {
    await assert.rejects(first(`REMOVE '/Volumes/../keystore.p12'`), /INVALID_VOLUME_PATH/);
    const row = await first(`GET '/Volumes/main/default/in/x' TO '/tmp/x'`);
    const url = new URL(String(row?.['presignedUrl']));
    const status = (target: URL) =>
      new Promise<number | undefined>((resolve, reject) => {
        get(target, { ca: warehouse.ca, agent: false }, (response) => {
          response.resume();
          resolve(response.statusCode);
        }).on('error', reject);
      });
    assert.equal(await status(url), 404);
    url.pathname += 'y';
    assert.equal(await status(url), 403);
  });

  test('the word /Volumes/ in a value stays as it is', async () => {
    assert.deepEqual(await first(`SELECT '/Volumes/x' AS v`), { v: '/Volumes/x' });
  });
});

test('everything but sessions survives a restart, and a table found again is dropped with its files', async () => {
  await rows(session, 'CREATE SCHEMA empty_one');
  await rows(
    session,
    'CREATE TABLE top_level (`odd name` INT) USING DELTA TBLPROPERTIES (delta.columnMapping.mode = "name")',
  );
  await rows(session, 'INSERT INTO top_level VALUES (7)');
  const columns = 'emp_id, name, salary';
  const read = `SELECT ${columns} FROM hr.employees ORDER BY emp_id`;
  const employees = await rows(session, read);
  const detail = await first('DESCRIBE DETAIL hr.employees');

  await warehouse.restart();
  session = await warehouse.session();
  assert.deepEqual(await rows(session, read), employees);
  assert.equal((await first('DESCRIBE DETAIL hr.employees'))?.['id'], detail?.['id']);
  assert.deepEqual(await rows(session, 'SELECT * FROM top_level'), [{ 'odd name': 7 }]);
  assert.ok((await rows(session, 'SHOW SCHEMAS')).some((row) => row['namespace'] === 'empty_one'));

  await rows(session, `INSERT INTO hr.employees (${columns}) VALUES (6, 'Fay', 6.00)`);
  assert.equal((await rows(session, read)).length, employees.length + 1);
  await rows(session, 'DROP TABLE hr.employees');
  assert.equal(existsSync(files('employees')), false);
  await rows(session, `CREATE TABLE hr.employees (emp_id INT) USING DELTA`);
  assert.deepEqual(await rows(session, 'SELECT * FROM hr.employees'), []);
  assert.equal((await first('DESCRIBE HISTORY hr.employees LIMIT 5'))?.['version'], 0n);
});
