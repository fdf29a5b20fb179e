import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Databricks, Statement } from '../../../src/connections/databricks/client.ts';
import { createLoadMerge, type LoadMergeOptions } from '../../../src/connections/databricks/load-merge.ts';
import { createLoadStaging, removeLoadFiles } from '../../../src/connections/databricks/load-staging.ts';
import { createLoadTarget } from '../../../src/connections/databricks/load-target.ts';
import { describeError, TransientError } from '../../../src/errors.ts';
import type { Load } from '../../../src/ports/load.ts';
import type { DeltaLoad, LoadFile } from '../../../src/ports/load-into-delta.ts';
import { PEOPLE } from '../../support/merge-sink-contract.ts';
import { MERGE, openMergeSite, tapped, type MergeSite } from './merge-sinks.ts';
import { UNSEEN } from '../../support/load-seen.ts';

let site: MergeSite;
before(async () => {
  site = await openMergeSite();
});
after(async () => {
  await site?.close();
});

type People = Readonly<Record<number, string>>;

interface Target {
  readonly load: Load;
  readonly files: readonly LoadFile[];
  loader(client?: Databricks, more?: Partial<LoadMergeOptions>): DeltaLoad;
  person(sql: string): Promise<void>;
  people(): Promise<Record<number, string>>;
  commits(): Promise<number>;
}

const forever = new AbortController().signal;
let loads = 0;

/** A table that holds some, a load of others whose version is the table's newest, and its staged files. */
async function target(held: People, loaded: People): Promise<Target> {
  const { warehouse, volume } = site;
  const { client } = warehouse;
  const table = await warehouse.table('id BIGINT, name STRING');
  const rows = (people: People) =>
    Object.entries(people)
      .map(([id, name]) => `(${id}, '${name}')`)
      .join(', ');
  if (Object.keys(held).length > 0) await warehouse.sql(`INSERT INTO ${table} VALUES ${rows(held)}`);
  const id = `load_${++loads}`;
  const folder = `${volume}/backfill/${id}`;
  const { version, tableId } = await createLoadTarget(client, table).pin();
  const staging = createLoadStaging(client, folder, PEOPLE);
  const lines = Object.entries(loaded).map(([key, name]) => staging.line([Number(key), name]));
  const path = await staging.put(0, 0, [Buffer.from(lines.join('\n'))]);
  // As a process leaves it that is killed before it has noted the file.
  await staging.put(0, 0, [Buffer.from(staging.line([1, 'of a file that nobody knows']))]);
  const load: Load = {
    id,
    recordsOf: id,
    name: 'people',
    target: table,
    topic: 'people_backfill',
    source: 'postgres',
    way: 'reconcile',
    captured: false,
    logPosition: null,
    phase: 'handover',
    pinned: { tableId, version, ts: 1000, rows: lines.length },
    startOffsets: [0n],
    liveOffsets: null,
    endOffsets: [10n],
    publishedRows: lines.length,
    rejectedRows: 0,
    appliedRows: 0,
    startedAt: '2026-01-01T00:00:00Z',
    error: null,
    seen: UNSEEN,
  };
  const place = { next: 10n, skip: 0 };
  return {
    load,
    files: [{ partition: 0, seq: 0, slice: 0, path, rows: lines.length, place }],
    loader: (used = client, more = {}) =>
      createLoadMerge({
        client: used,
        ledger: site.ledger(table),
        sink: table,
        table,
        mapping: PEOPLE,
        folder,
        othersCount: true,
        ...more,
      }),
    person: async (sql) => void (await warehouse.sql(sql.replaceAll('$T', table))),
    async people() {
      const found = await warehouse.sql(`SELECT id, name FROM ${table} ORDER BY id`);
      assert.equal(new Set(found.map((row) => row['id'])).size, found.length, 'a key twice');
      return Object.fromEntries(found.map(({ id: key, name }) => [Number(key), String(name)]));
    },
    commits: async () => (await warehouse.sql(`DESCRIBE HISTORY ${table}`)).length,
  };
}

describe('a load that is merged into a table with rows', () => {
  it('adds, corrects and removes; what others change after its version is theirs, whenever it comes; again it does nothing', async () => {
    const held = { 1: 'as it is', 2: 'old', 3: 'old', 4: 'gone', 5: 'old', 6: 'gone', 9: 'old', 12: 'old' };
    const loaded = {
      1: 'as it is',
      2: 'new',
      3: 'new',
      5: 'new',
      8: 'added',
      9: 'new',
      10: 'new',
      12: 'new',
    };
    const { load, files, loader, person, people, commits } = await target(held, loaded);
    // 4 and 5 are rewritten as they were: no change that anybody would hear of.
    await person(`UPDATE $T SET name = if(id IN (3, 6), 'a person’s', name) WHERE id IN (3, 4, 5, 6)`);
    await person(`MERGE INTO $T t USING (SELECT explode(array(9, 10)) AS id) s ON t.id = s.id
                  WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'a person’s')`);
    let questions = 0;
    const told: string[] = [];
    const into = loader(
      tapped(site.warehouse.client, /^SELECT concat_ws/, {
        // Between the question what others have changed, and the statement.
        async after() {
          if (++questions === 1) await person(`UPDATE $T SET name = 'just now' WHERE id = 12`);
        },
      }),
      { onConflict: (error: unknown) => told.push(describeError(error)) },
    );
    assert.deepEqual(await into.merge(load, files, forever), { added: 1, corrected: 2 });
    assert.ok(questions >= 3, 'the first statement did nothing');
    assert.match(told.join(), /^Others have committed to .* once: it begins again\. Give the jobs/);
    assert.equal(await into.removeAbsent(load, files, forever), 1);
    const expected = {
      1: 'as it is',
      2: 'new',
      3: 'a person’s',
      5: 'new',
      6: 'a person’s',
      8: 'added',
      10: 'a person’s',
      12: 'just now',
    };
    assert.deepEqual(await people(), expected);

    // Whoever goes on after a crash does not know that it is done; and people go on as well.
    await person(`UPDATE $T SET name = 'later' WHERE id = 2`);
    const before = await commits();
    const again = loader();
    assert.deepEqual(await again.merge(load, files, forever), { added: 0, corrected: 0 });
    assert.equal(await again.removeAbsent(load, files, forever), 0);
    assert.deepEqual(await people(), { ...expected, 2: 'later' });
    assert.equal(await commits(), before);
  });
});

describe('a load whose process is gone', () => {
  it('lands no statement once another process goes on, however late', async () => {
    const { load, files, loader, people, person } = await target({ 1: 'old' }, { 1: 'new', 2: 'new' });
    const late: Statement[] = [];
    const client: Databricks = {
      ...site.warehouse.client,
      async query(statement) {
        if (!MERGE.test(statement.sql)) return await site.warehouse.client.query(statement);
        late.push(statement);
        throw new TransientError({ code: 'DATABRICKS_CONNECTION', message: 'the process is killed' });
      },
    };
    // Nothing but the epoch holds it back: that others change the table is nothing to it.
    const dying = loader(client, { othersCount: false });
    await assert.rejects(dying.merge(load, files, forever));
    assert.deepEqual(await loader().merge(load, files, forever), { added: 1, corrected: 1 });
    await person(`UPDATE $T SET name = 'later' WHERE id = 1`);
    assert.equal(late.length, 1);
    for (const { signal: _, ...statement } of late) await site.warehouse.client.query(statement);
    assert.deepEqual(await people(), { 1: 'later', 2: 'new' });
  });

  it('leaves files, which are removed', async () => {
    const { load, files } = await target({}, { 1: 'new' });
    await removeLoadFiles(site.warehouse.client, `${site.volume}/backfill/${load.id}`);
    const folder = files[0]!.path.slice(0, files[0]!.path.lastIndexOf('/'));
    assert.deepEqual(await site.warehouse.sql(`LIST '${folder}'`).catch(() => []), []);
  });
});

describe('a load into an empty table', () => {
  it('adds all at once; where nobody reads what others change in Delta, the load counts', async () => {
    const { load, files, loader, person, people } = await target({}, { 1: 'new', 2: 'new' });
    await person(`INSERT INTO $T VALUES (2, 'a person’s'), (3, 'a person’s')`);
    assert.deepEqual(await loader().merge({ ...load, way: 'fill' }, files, forever), {
      added: 1,
      corrected: 0,
    });
    const into = loader(site.warehouse.client, { othersCount: false });
    assert.deepEqual(await into.merge(load, files, forever), { added: 0, corrected: 1 });
    assert.equal(await into.removeAbsent(load, files, forever), 1);
    assert.deepEqual(await people(), { 1: 'new', 2: 'new' });
  });
});
