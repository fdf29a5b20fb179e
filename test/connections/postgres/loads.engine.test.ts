import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createLoadPhase, createLoadStart } from '../../../src/connections/postgres/load-start.ts';
import { createLoads, type LoadsOptions } from '../../../src/connections/postgres/loads.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { FencedError } from '../../../src/errors.ts';
import type { Load, Loads } from '../../../src/ports/load.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { change, createEmployees, openApplier, shown } from './employees.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(async () => await database.drop());

const GROUP = 'employees-postgres';
/** Of `openApplier`. */
const topicOf = (table: string): string => `changes of ${table} `;

function loadsOf(table: string, more: Partial<LoadsOptions> = {}): Loads {
  return createLoads({
    pool: database.pool,
    name: table,
    target: table,
    columns: ['emp_id', 'name', 'salary'],
    topic: `${table}_backfill`,
    consumers: { group: GROUP, topic: topicOf(table) },
    captured: false,
    ...more,
  });
}

const begin = (loads: Loads, id: string, ...changesLow: bigint[]): Promise<Load> =>
  loads.begin({ id, startOffsets: changesLow.map(() => 0n), changesLow });

/** Per partition: the next offset, and the load that it waits for. */
async function standing(topic: string): Promise<string[]> {
  const { rows } = await database.pool.query<{ at: string }>(
    `SELECT next_offset || coalesce(' held by ' || held_by, '') AS at FROM deltaferry.offsets WHERE topic = $1 ORDER BY partition`,
    [topic],
  );
  return rows.map(({ at }) => at);
}

const standAt = (topic: string, ...next: bigint[]): Promise<unknown> =>
  database.pool.query(
    `INSERT INTO deltaferry.offsets (group_id, topic, partition, next_offset)
     SELECT $1, $2, n - 1, next FROM unnest($3::bigint[]) WITH ORDINALITY AS given(next, n)`,
    [GROUP, topic, next.map(String)],
  );

/** Partition 0 stands before what has expired, partition 1 behind it. */
describe('a load that is given up', () => {
  it('stops its consumers again where changes are missing that it was to bring', async () => {
    const table = 'empty';
    await createEmployees(database.pool, table);
    await standAt(topicOf(table), 5n, 30n);
    const loads = loadsOf(table);
    await begin(loads, 'empty-1', 10n, 10n);
    assert.deepEqual(await standing(topicOf(table)), ['10 held by empty-1', '30 held by empty-1']);
    await loads.giveUp('empty-1');
    assert.deepEqual(await standing(topicOf(table)), ['5', '30']);
    // Its answer was lost, and another load has begun.
    await begin(loads, 'empty-2', 12n, 12n);
    await loads.giveUp('empty-1');
    assert.deepEqual(await standing(topicOf(table)), ['12 held by empty-2', '30 held by empty-2']);
    await loads.giveUp('empty-2');
    assert.deepEqual(await standing(topicOf(table)), ['5', '30']);
  });

  it('does so also where they have gone on meanwhile, and the next load lets nothing be applied twice', async () => {
    const table = 'holds_rows';
    await createEmployees(database.pool, table);
    await database.pool.query(`INSERT INTO ${table} VALUES (7, 'old', 1, true, '2020-01-01Z', NULL)`);
    await standAt(topicOf(table), 5n, 30n);
    const loads = loadsOf(table);
    const applier = await openApplier(database.pool, table);
    const { way } = await begin(loads, 'rows-1', 10n, 10n);
    assert.deepEqual([way, await standing(topicOf(table))], ['reconcile', ['10', '30']]);
    await applier.apply(change(1, 1, 'A'), change(1, 2, 'B'));
    const inHand = { partition: 0, expected: 12n, next: 13n, changes: [change(1, 3, 'C')] };
    await loads.giveUp('rows-1');
    assert.deepEqual(await standing(topicOf(table)), ['5', '30']);
    await assert.rejects(applier.sink.apply(inHand), FencedError);

    await begin(loads, 'rows-2', 11n, 11n);
    assert.deepEqual(await standing(topicOf(table)), ['12', '30']);
    await applier.sink.apply(inHand);
    assert.equal(await shown(database.pool, table, 1), 'A[1,2) B[2,3) C[3,)');
    await loads.giveUp('rows-2');
    assert.deepEqual(await standing(topicOf(table)), ['5', '30']);

    // More has expired than they had come to.
    await begin(loads, 'rows-3', 20n, 20n);
    assert.deepEqual(await standing(topicOf(table)), ['20', '30']);
    await database.pool.query(`UPDATE deltaferry.loads SET phase = 'live' WHERE id = 'rows-3'`);
    await begin(loads, 'rows-4', 20n, 20n);
    await loads.giveUp('rows-4');
    assert.deepEqual(await standing(topicOf(table)), ['20', '30'], 'a load has brought what was missing');
  });

  it('into Delta does so, too, by whichever command', async () => {
    const topic = 'merged_changes';
    await standAt(topic, 5n, 30n);
    const mergers = { group: GROUP, topic };
    const loads = loadsOf('into_delta', { intoDelta: { mergers, holdsRows: async () => false } });
    await begin(loads, 'delta-1', 10n, 10n);
    assert.deepEqual(await standing(topic), ['10 held by delta-1', '30 held by delta-1']);
    await loadsOf('into_delta').giveUp('delta-1');
    assert.deepEqual(await standing(topic), ['5', '30']);
  });

  it('is none for the feed, which knows what became of it', async () => {
    const table = 'fed';
    await createEmployees(database.pool, table);
    const loads = loadsOf(table);
    const startAfter = createLoadStart(database.pool, table);
    const phase = createLoadPhase(database.pool, table);
    const choose = (id: string, version: number) =>
      loads.pinned(id, { tableId: 'x', version, ts: 1_700_000_000_000_000, rows: 1 }, [0n]);
    await begin(loads, 'fed-1', 0n);
    await assert.rejects(startAfter('x'), { code: 'LOAD_NOT_PINNED' });
    await choose('fed-1', 7);
    const first = await startAfter('x');
    assert.deepEqual(first, { version: 7, began: first?.began, live: false });
    assert.equal(await phase(first?.began ?? ''), 'snapshot');
    await loads.giveUp('fed-1');
    assert.equal(await startAfter('x'), null);
    assert.equal(await phase(first?.began ?? ''), 'failed');

    await begin(loads, 'fed-2', 0n);
    await choose('fed-2', 7);
    await database.pool.query(`UPDATE deltaferry.loads SET phase = 'live' WHERE id = 'fed-2'`);
    const second = await startAfter('x', first?.began);
    assert.deepEqual(second, { version: 7, began: second?.began, live: true });
    assert.deepEqual(
      [await phase(second?.began ?? ''), await phase(first?.began ?? ''), await phase('2020')],
      ['live', 'failed', null],
    );
    assert.equal(await startAfter('x', second?.began), null);
  });
});
