import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { Change, Micros } from '../../../src/change/change.ts';
import { instantText } from '../../../src/connections/postgres/instants.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { anyOrder, Shares, withTies, type Delivery } from '../../scd/deliveries.ts';
import { checkAll } from '../../scd/invariants.ts';
import { trueVersions, truthAt, type Told } from '../../scd/oracle.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { change, createEmployees, EPOCH, openApplier, storedVersions, type StoredRow } from './employees.ts';

const HISTORIES = 400;
const SEED = Number(process.env['TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(async () => await database.drop());

/** Employee n lives through the n-th delivery; the r-th batches of all of them travel together. */
const deliveries = [
  ...fc.sample(anyOrder, { numRuns: HISTORIES / 2, seed: SEED }),
  ...fc.sample(withTies, { numRuns: HISTORIES / 2, seed: SEED }),
];

const BATCHINGS: Record<string, (delivery: Delivery) => Delivery['batches']> = {
  'as generated': ({ batches }) => batches,
  'one change at a time': ({ batches }) => batches.flat().map((one) => [one]),
  'all at once': ({ batches }) => [batches.flat()],
};

for (const path of ['auto', 'exact'] as const)
  for (const [batching, cut] of Object.entries(BATCHINGS))
    test(`H1-H5 in the table itself: ${HISTORIES} random histories, ${batching}, path ${path} (seed ${SEED})`, async () => {
      const table = `history_${path}_${batching.replaceAll(' ', '_')}`;
      await createEmployees(database.pool, table);
      await writePast(table);
      const applier = await openApplier(database.pool, table, { path });
      let late = 0;
      for (const changes of rounds(cut)) late += (await applier.apply(...changes)).lateKeys;
      const stored = await storedVersions(database.pool, table);
      deliveries.forEach((delivery, emp) => judge(delivery, stored.get(emp) ?? []));
      assert.ok(late > 0, 'nothing was late');
      await judgeOrphans(table);
    });

test('the histories contain what they are meant to', () => {
  const shares = new Shares();
  for (const delivery of deliveries) shares.note(delivery);
  for (const situation of ['late', 'delete', 'reinsert', 'duplicate', 'deleteFirst', 'tie'] as const)
    assert.ok(shares.of(situation) > 0.05, `${situation}: ${shares.of(situation)}`);
});

test('H4 is held by its check: a flag that says otherwise is noticed', async () => {
  await createEmployees(database.pool, 'wrong_flag');
  const applier = await openApplier(database.pool, 'wrong_flag');
  await applier.apply(change(1, 1, 'A'), change(1, 5, null));
  const told = {
    before: [],
    batches: [
      [
        { ts: 1, image: 'A' },
        { ts: 5, image: null },
      ],
    ],
  };
  const versions = async (): Promise<StoredRow[]> =>
    (await storedVersions(database.pool, 'wrong_flag')).get(1) ?? [];
  judge(told, await versions());
  await database.pool.query('UPDATE wrong_flag SET is_active = true');
  const wrong = await versions();
  assert.throws(() => judge(told, wrong), /H4/);
});

/** What was there before is written as people would. */
async function writePast(table: string): Promise<void> {
  const past = deliveries.flatMap((delivery, emp) =>
    trueVersions(delivery.before).map((version) => ({ emp, ...version })),
  );
  const at = (ts: Micros | null): string | null => (ts === null ? null : instantText(Number(ts) + EPOCH));
  await database.pool.query(
    `INSERT INTO ${table} SELECT emp, image, 10.50, "to" IS NULL, "from", "to"
     FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::timestamptz[]) AS past(emp, image, "from", "to")`,
    [
      past.map(({ emp }) => emp),
      past.map(({ image }) => image),
      past.map(({ from }) => at(from)),
      past.map(({ to }) => at(to)),
    ],
  );
}

function* rounds(cut: (delivery: Delivery) => Delivery['batches']): Iterable<Change[]> {
  const all = deliveries.map(cut);
  const last = Math.max(...all.map((batches) => batches.length));
  for (let round = 0; round < last; round++)
    yield all.flatMap((batches, emp) =>
      (batches[round] ?? []).map(({ ts, image }) => change(emp, Number(ts), image)),
    );
}

/** Remembered must be exactly the deletes that follow nothing or another delete. */
async function judgeOrphans(table: string): Promise<void> {
  const rows = await database.pool.query<{ key: string; ts: number }>(
    `SELECT key, ((extract(epoch FROM ts) * 1000000)::bigint - ${EPOCH})::float8 AS ts
     FROM deltaferry.orphan_deletes WHERE target = $1`,
    [table],
  );
  const expected = deliveries.flatMap((delivery, emp) => {
    const told = toldOf(delivery);
    const ends = new Set(trueVersions(told).map(({ to }) => to));
    const deletes = new Set(told.filter(({ ts }) => truthAt(told, ts) === null).map(({ ts }) => ts));
    return Array.from(deletes).flatMap((ts) => (ends.has(ts) ? [] : [`${emp}@${ts}`]));
  });
  assert.deepEqual(rows.rows.map(({ key, ts }) => `${key}@${ts}`).sort(), expected.sort());
}

function judge(delivery: Delivery, versions: readonly StoredRow[]): void {
  const told = toldOf(delivery);
  const message = JSON.stringify({ delivery, versions });
  checkAll({ versions, told });
  for (const { to, active } of versions) assert.equal(active, to === null, `H4: ${message}`);
  assert.deepEqual(
    versions.map(({ from, to, image }) => ({ from, to, image })),
    trueVersions<string | null>(told),
    message,
  );
}

/** Deletes of the past that ended nothing were never written: people have no way to write them. */
function toldOf(delivery: Delivery): Told<string | null>[] {
  const past = trueVersions(delivery.before).flatMap(({ from, to, image }) => [
    { ts: from, image: image },
    ...(to === null || delivery.before.some(({ ts, image: next }) => ts === to && next !== null)
      ? []
      : [{ ts: to, image: null }]),
  ]);
  return [...past, ...delivery.batches.flat()];
}
