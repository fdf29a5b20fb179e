import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ColumnType, TableMapping } from '../../../src/change/table.ts';
import { createDeltaSource } from '../../../src/connections/databricks/delta-source.ts';
import { SchemaChangedError } from '../../../src/ports/delta-source.ts';
import { deltaSourceContract, rows } from '../../producers/delta-source-contract.ts';
import { employees } from '../../producers/employees.ts';
import { EMPLOYEE_COLUMNS, openTestWarehouse, type TestWarehouse } from './warehouse.ts';

let warehouse: TestWarehouse;
before(async () => {
  warehouse = await openTestWarehouse();
});
after(() => warehouse?.close());

deltaSourceContract('SQL warehouse', async () => {
  const table = await warehouse.table(EMPLOYEE_COLUMNS);
  const { sql } = warehouse;
  const run = async (text: string): Promise<void> => void (await sql(text));
  return {
    source: createDeltaSource({ client: warehouse.client, table, mapping: employees }),
    insert: (all) =>
      run(`INSERT INTO ${table} VALUES ${all.map(([id, name]) => `(${id}, '${name}', 10)`).join(', ')}`),
    rename: (id, name) => run(`UPDATE ${table} SET name = '${name}' WHERE emp_id = ${id}`),
    remove: (id) => run(`DELETE FROM ${table} WHERE emp_id = ${id}`),
    mergeMarked: (id, name, mark) =>
      run(
        `MERGE INTO ${table} t USING (SELECT ${id}L AS emp_id, '${name}' AS name, '${mark}' AS ferry) s
         ON t.emp_id = s.emp_id AND s.ferry = '${mark}'
         WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (emp_id, name) VALUES (s.emp_id, s.name)`,
      ),
    overwriteWithItself: () => run(`INSERT OVERWRITE ${table} SELECT * FROM ${table}`),
    restore: (version) => run(`RESTORE TABLE ${table} TO VERSION AS OF ${version}`),
  };
});

function mappingOf(key: readonly string[], columns: Readonly<Record<string, ColumnType>>): TableMapping {
  return { name: 'odd', key, columns: Object.entries(columns).map(([name, type]) => ({ name, type })) };
}
const text: ColumnType = { name: 'text' };
const bigint: ColumnType = { name: 'bigint' };

describe('values as they are', () => {
  it('quotes, control characters, emoji, empty and null texts arrive as they were written', async () => {
    const texts = [
      '',
      ' ',
      'null',
      '"quoted" \'single\' \\ back',
      'line\nbreak\r\ttab',
      '\u0001\u001f\u007f',
      '\u2028\u2029',
      'é 👩‍🚀 漢',
      '[1,"a"]',
      'a,b',
    ];
    const table = await warehouse.table('id BIGINT, t STRING');
    const values = texts.map((each, id) => `(${id}, '${Buffer.from(each).toString('hex')}')`);
    await warehouse.sql(
      `INSERT INTO ${table} SELECT id, decode(unhex(h), 'UTF-8') FROM VALUES ${values.join(', ')}, (${texts.length}, NULL) AS v(id, h)`,
    );
    const source = createDeltaSource({
      client: warehouse.client,
      table,
      mapping: mappingOf(['id'], { id: bigint, t: text }),
    });
    assert.deepEqual(
      (await rows(source, 1, 1)).map(({ row }) => row),
      [...texts, null].map((each, id) => [id, each]),
    );
  });

  it('names with capitals, blanks, quotes and the names of our own columns are just names', async () => {
    const columns = { 'Emp Id': bigint, line: text, 'we`ird': text, c: text };
    const table = await warehouse.table(
      '`Emp Id` BIGINT, line STRING, `we``ird` STRING, c STRING',
      `, 'delta.columnMapping.mode' = 'name'`,
    );
    await warehouse.sql(
      `INSERT INTO ${table} VALUES (2, 'b', 'x', 'y'), (1, 'z', 'v', 'w'), (10, 'a', 'v', 'w')`,
    );
    const source = createDeltaSource({
      client: warehouse.client,
      table,
      mapping: mappingOf(['Emp Id', 'line'], columns),
    });
    assert.deepEqual(
      (await rows(source, 1, 1)).map(({ row }) => row),
      [
        [1, 'z', 'v', 'w'],
        [2, 'b', 'x', 'y'],
        [10, 'a', 'v', 'w'],
      ],
    );
  });

  it('the case of a uuid does not part the rows of its key', async () => {
    const table = await warehouse.table('id STRING, t STRING');
    const [low, high] = ['aaaaaaaa-0000-0000-0000-000000000000', 'bbbbbbbb-0000-0000-0000-000000000000'];
    await warehouse.sql(`INSERT INTO ${table} VALUES ('${low}', 'a'), ('${high}', 'b')`);
    await warehouse.sql(`INSERT OVERWRITE ${table} SELECT upper(id), t FROM ${table}`);
    const source = createDeltaSource({
      client: warehouse.client,
      table,
      mapping: mappingOf(['id'], { id: { name: 'uuid' }, t: text }),
    });
    assert.deepEqual(
      (await rows(source, 2, 2)).map(({ row }) => row[0]),
      [low, low, high, high],
    );
  });

  it('a value out of the column’s range marks its row, the others go on', async () => {
    const table = await warehouse.table('emp_id BIGINT, name STRING, salary DECIMAL(38,4)');
    await warehouse.sql(
      `INSERT INTO ${table} VALUES (1, 'a', 1.5), (2, 'b', 12345678901234567890.12), (3, 'c', 0.001), (4, 'd', NULL)`,
    );
    const source = createDeltaSource({ client: warehouse.client, table, mapping: employees });
    const found = await rows(source, 1, 1);
    assert.deepEqual(
      found.map(({ row, invalid }) => [row[0], row[2], invalid?.error.code ?? null]),
      [
        [1, '1.50', null],
        [2, null, 'VALUE_OUT_OF_RANGE'],
        [3, null, 'VALUE_OUT_OF_RANGE'],
        [4, null, null],
      ],
    );
    assert.deepEqual(found[1]?.invalid?.values, ['2', 'b', '12345678901234567890.1200']);
  });

  it('many rows come in pages, in one order whichever way they are sorted', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await warehouse.sql(`INSERT INTO ${table} SELECT id, concat('n', id), 1 FROM range(0, 60000, 1, 4)`);
    const source = createDeltaSource({ client: warehouse.client, table, mapping: employees });
    const ids: unknown[] = [];
    let pages = 0;
    for await (const page of source.changes(1, 1)) {
      pages++;
      assert.ok(page.length <= 20_000);
      ids.push(...page.map(({ row }) => row[0]));
    }
    assert.ok(pages >= 3);
    assert.deepEqual(
      ids,
      Array.from({ length: 60_000 }, (_, id) => id),
    );
    await warehouse.sql(`DELETE FROM ${table} WHERE emp_id % 3 = 0`);
    const parallel = await rows(source, 2, 2);
    const inOneTask = await rows(source, 2, 2);
    assert.deepEqual(inOneTask, parallel);
  });
});

describe('errors, by what they ask of whom', () => {
  const sourceOf = (table: string, mapping = employees) =>
    createDeltaSource({ client: warehouse.client, table, mapping });

  it('a missing table, and one of no format', async () => {
    const source = sourceOf(`${warehouse.schema}.nowhere`);
    for (const ask of [() => source.describe(), () => source.commits(1), () => rows(source, 0, 0)])
      await assert.rejects(ask, {
        code: 'DELTA_TABLE_MISSING',
        kind: 'operator',
        remedy: /deltaferry setup/,
      });
  });

  it('versions from before the feed was switched on, and vacuumed ones', async () => {
    const late = warehouse.name();
    await warehouse.sql(`CREATE TABLE ${late} (${EMPLOYEE_COLUMNS}) USING DELTA`);
    await warehouse.sql(`INSERT INTO ${late} VALUES (1, 'a', 1)`);
    assert.equal((await sourceOf(late).describe()).changeDataFeed, false);
    await warehouse.sql(`ALTER TABLE ${late} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)`);
    await assert.rejects(rows(sourceOf(late), 0, 2), {
      code: 'DELTA_VERSIONS_GONE',
      kind: 'operator',
      remedy: /deltaferry backfill employees/,
    });

    const vacuumed = await warehouse.table(EMPLOYEE_COLUMNS);
    await warehouse.sql(`INSERT INTO ${vacuumed} VALUES (1, 'a', 1), (2, 'b', 1)`);
    await warehouse.sql(`UPDATE ${vacuumed} SET name = 'c' WHERE emp_id = 1`);
    await warehouse.sql('SET spark.databricks.delta.retentionDurationCheck.enabled = false');
    await warehouse.sql(`VACUUM ${vacuumed} RETAIN 0 HOURS`);
    for (const version of [1, 2])
      await assert.rejects(rows(sourceOf(vacuumed), version, version), {
        code: 'DELTA_VERSIONS_GONE',
        remedy: /deltaferry backfill employees/,
      });
  });

  it('a version past the latest is asked again, not given up', async () => {
    const table = await warehouse.table(EMPLOYEE_COLUMNS);
    await assert.rejects(rows(sourceOf(table), 5, 6), { code: 'DELTA_VERSION_AHEAD', kind: 'transient' });
  });

  it('a schema change names its version; a column that is gone is named', async () => {
    const table = await warehouse.table(
      `${EMPLOYEE_COLUMNS}, gone STRING`,
      `, 'delta.columnMapping.mode' = 'name'`,
    );
    await warehouse.sql(`INSERT INTO ${table} VALUES (1, 'a', 1, 'x')`);
    await warehouse.sql(`ALTER TABLE ${table} DROP COLUMN gone`);
    await warehouse.sql(`INSERT INTO ${table} VALUES (2, 'b', 1)`);
    await assert.rejects(
      rows(sourceOf(table), 0, 3),
      (error) => error instanceof SchemaChangedError && error.version !== null,
    );
    assert.equal((await rows(sourceOf(table), 0, 1)).length, 1);
    assert.equal((await rows(sourceOf(table), 3, 3)).length, 1);
    const stale = { ...employees, columns: [...employees.columns, { name: 'gone', type: text }] };
    await assert.rejects(rows(sourceOf(table, stale), 3, 3), {
      code: 'DELTA_COLUMN_MISSING',
      kind: 'operator',
      message: /gone/,
      remedy: /columns of employees.*deltaferry backfill employees/,
    });
  });
});
