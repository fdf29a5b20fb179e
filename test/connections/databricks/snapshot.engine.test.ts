import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createSnapshotSource } from '../../../src/connections/databricks/snapshot.ts';
import type { TableMapping } from '../../../src/change/table.ts';
import type { OperatorError } from '../../../src/errors.ts';
import type { PinnedVersion, SnapshotRow, SnapshotSource } from '../../../src/ports/load.ts';
import { collected } from '../../support/collected.ts';
import { openTestWarehouse, type TestWarehouse } from './warehouse.ts';

const ROWS = 3000;
const never = new AbortController().signal;

const mapping: TableMapping = {
  name: 'samples',
  key: ['id', 'part'],
  columns: [
    { name: 'id', type: { name: 'bigint' } },
    { name: 'part', type: { name: 'text' } },
    { name: 'text', type: { name: 'text' } },
    { name: 'amount', type: { name: 'numeric', precision: 30, scale: 4 } },
    { name: 'at', type: { name: 'timestamptz' } },
  ],
};

let warehouse: TestWarehouse;
let table: string;
before(async () => {
  warehouse = await openTestWarehouse();
  table = await warehouse.table('id BIGINT, part STRING, text STRING, amount DECIMAL(30,4), at TIMESTAMP');
  await warehouse.sql(
    `INSERT INTO ${table} SELECT 9007199254740993 + id, concat('p', id % 7),
       CASE id % 4 WHEN 0 THEN NULL WHEN 1 THEN concat('line\\nbreak \\r " ', id) WHEN 2 THEN '' ELSE 'Zürich 😀 \\u2028' END,
       CAST(id AS DECIMAL(30,4)) / 3, timestamp_micros(id * 1000001) FROM range(${ROWS})`,
  );
});
after(() => warehouse.close());

function source(
  volume: string | undefined,
  onRefused?: (error: OperatorError) => void,
  bytesPerPart?: number,
): SnapshotSource {
  return createSnapshotSource({
    client: warehouse.client,
    table,
    mapping,
    volume,
    rowsPerPiece: 700,
    bytesPerPart,
    ...(onRefused === undefined ? {} : { onRefused }),
  });
}

async function allRows(
  from: SnapshotSource,
  pieces: readonly string[],
  pinned: PinnedVersion,
): Promise<string[]> {
  return (await rowsOfEach(from, pieces, pinned)).flat().sort();
}

async function rowsOfEach(
  from: SnapshotSource,
  pieces: readonly string[],
  pinned: PinnedVersion,
): Promise<string[][]> {
  const found: string[][] = [];
  for await (const { rows, at } of from.read({ pieces, at: null }, pinned, never)) {
    assert.equal(at, null, 'so few rows are one part');
    found.push(rows.map((each) => (each.kind === 'row' ? each.row.map(String).join('|') : each.message)));
  }
  assert.equal(found.length, pieces.length);
  return found;
}

describe('a snapshot of a Delta table', () => {
  const volume = '/Volumes/local/default/deltaferry';

  it('is the same by files and by results, exact in every value, whatever is committed afterwards', async () => {
    const files = source(volume);
    const results = source(undefined);
    const pinned = await files.pin();
    assert.equal(pinned.rows, ROWS);
    await warehouse.sql(`DELETE FROM ${table} WHERE id % 2 = 0`);

    const exported = await files.pieces('test-load', pinned, never);
    const buckets = await results.pieces('test-load', pinned, never);
    assert.ok(
      exported.length >= ROWS / 700 && exported.every((piece) => piece.startsWith(volume)),
      exported.join(),
    );
    assert.equal(buckets.length, Math.ceil(ROWS / 700));
    const rows = await allRows(files, exported, pinned);
    assert.equal(rows.length, ROWS);
    assert.deepEqual(await allRows(results, buckets, pinned), rows);
    assert.ok(rows.includes(`9007199254740994|p1|line\nbreak \r " 1|0.3333|1000001`), rows[1]);
    assert.ok(rows.includes(`9007199254740993|p0|null|0.0000|0`), rows[0]);

    await files.tidy('test-load');
    await assert.rejects(allRows(files, exported.slice(0, 1), pinned));
  });

  it('has the same rows in each piece, wherever reading begins', async () => {
    const results = source(undefined);
    const pinned = await results.pin();
    // So many pieces that some of them are empty.
    const pieces = Array.from({ length: ROWS * 2 }, (_, bucket) => `bucket ${bucket} of ${ROWS * 2}`);
    const all = (await rowsOfEach(results, pieces, pinned)).map((rows) => rows.sort());
    assert.equal(all.flat().length, pinned.rows);
    assert.ok(all.some((rows) => rows.length === 0) && all.some((rows) => rows.length > 1));
    const emptyOnes = all.flatMap((rows, index) => (rows.length === 0 ? [index] : []));
    for (const from of [1, emptyOnes[0]!, emptyOnes[0]! + 1, ROWS * 2 - 1]) {
      const rest = await rowsOfEach(results, pieces.slice(from), pinned);
      assert.deepEqual(
        rest.map((rows) => rows.sort()),
        all.slice(from),
      );
    }
  });

  for (const [what, volume] of [
    ['files', '/Volumes/local/default/deltaferry'],
    ['results', undefined],
  ] as const)
    it(`is read in parts of bounded text, by ${what}, and gone on with behind each of them`, async () => {
      const bytes = 4000;
      const from = source(volume, undefined, bytes);
      const pinned = await from.pin();
      const pieces = await from.pieces('test-parts', pinned, never);
      const textOf = (row: SnapshotRow): string =>
        row.kind === 'row' ? row.row.map(String).join('|') : row.message;
      const parts = await collected(from.read({ pieces, at: null }, pinned, never));
      const rows = parts.flatMap((part) => part.rows.map(textOf));
      assert.equal(new Set(rows).size, pinned.rows);
      assert.ok(parts.length > pieces.length * 3, `${parts.length} parts of ${pieces.length} pieces`);
      for (const part of parts) assert.ok(part.rows.map(textOf).join('').length <= bytes);

      for (const index of [0, 1, 5, parts.length - 2]) {
        const done = parts.slice(0, index + 1);
        const whole = done.filter(({ at }) => at === null).length;
        const rest = { pieces: pieces.slice(whole), at: done.at(-1)!.at };
        const found = await collected(from.read(rest, pinned, never));
        assert.deepEqual(
          found.flatMap((part) => part.rows.map(textOf)),
          rows.slice(done.flatMap((part) => part.rows).length),
          `behind part ${index}`,
        );
      }
    });

  it('takes the slower way where the warehouse refuses the export, and says so', async () => {
    const refused: OperatorError[] = [];
    const from = source('/Volumes/../elsewhere', (error) => refused.push(error));
    const pinned = await from.pin();
    const pieces = await from.pieces('test-load', pinned, never);
    assert.ok(pieces.every((piece) => piece.startsWith('bucket ')));
    assert.equal(refused.length, 1);
    assert.equal((await allRows(from, pieces, pinned)).length, pinned.rows);
  });

  it('has the time that the change feed gives the version', async () => {
    const pinned = await source(undefined).pin();
    const [row] = await warehouse.client.query({
      doing: 'reading the feed',
      sql: `SELECT max(unix_micros(_commit_timestamp)) AS ts FROM table_changes('${table}', ${pinned.version}, ${pinned.version})`,
    });
    assert.equal(pinned.ts, Number(row!['ts']));
  });

  it('of a version without changes has the time that the history gives it', async () => {
    const before = await source(undefined).pin();
    await warehouse.sql(`ALTER TABLE ${table} SET TBLPROPERTIES ('note' = 'nothing changes')`);
    const pinned = await source(undefined).pin();
    assert.equal(pinned.version, before.version + 1);
    const [row] = await warehouse.client.query({
      doing: 'reading the history',
      sql: `DESCRIBE HISTORY ${table}`,
    });
    assert.equal(pinned.ts, (row!['timestamp'] as Date).getTime() * 1000);
    assert.ok(pinned.ts > before.ts, 'behind all changes that it holds');
  });
});
