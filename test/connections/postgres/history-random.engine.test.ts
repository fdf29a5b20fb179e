import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { Change } from '../../../src/change/change.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { anyOrder, Shares, withTies, type Delivery } from '../../scd/deliveries.ts';
import { checkAll } from '../../scd/invariants.ts';
import { trueVersions } from '../../scd/oracle.ts';
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
  const told = { before: [], batches: [[{ ts: 1, image: 'A' }, { ts: 5, image: null }]] };
  const versions = async (): Promise<StoredRow[]> => (await storedVersions(database.pool, 'wrong_flag')).get(1) ?? [];
  judge(told, await versions());
  await database.pool.query('UPDATE wrong_flag SET is_active = true');
  const wrong = await versions();
  assert.throws(() => judge(told, wrong), /H4/);
});

/** What was there before is written as people would. */
async function writePast(table: string): Promise<void> {
  for (const [emp, delivery] of deliveries.entries())
    for (const { from, to, image } of trueVersions(delivery.before))
      await database.pool.query(
        `INSERT INTO ${table} SELECT $1, $2, 10.50, $4::float8 IS NULL, at($3), at($4)`.replaceAll(
          /at\((\$\d)\)/g,
          `'2025-01-01 00:00:00+00'::timestamptz + $1::float8 * interval '1 microsecond'`,
        ),
        [emp, image, from, to],
      );
}

function* rounds(cut: (delivery: Delivery) => Delivery['batches']): Iterable<Change[]> {
  const all = deliveries.map(cut);
  const last = Math.max(...all.map((batches) => batches.length));
  for (let round = 0; round < last; round++)
    yield all.flatMap((batches, emp) => (batches[round] ?? []).map(({ ts, image }) => change(emp, Number(ts), image)));
}

function judge(delivery: Delivery, versions: readonly StoredRow[]): void {
  // Deletes of the past that ended nothing were never written: nobody can write them.
  const past = trueVersions(delivery.before).flatMap(({ from, to, image }) => [
    { ts: from, image: image as string | null },
    ...(to === null || delivery.before.some(({ ts, image: next }) => ts === to && next !== null)
      ? []
      : [{ ts: to, image: null }]),
  ]);
  const told = [...past, ...delivery.batches.flat()];
  const message = JSON.stringify({ delivery, versions });
  checkAll({ versions, told });
  for (const { to, active } of versions) assert.equal(active, to === null, `H4: ${message}`);
  assert.deepEqual(
    versions.map(({ from, to, image }) => ({ from, to, image })),
    trueVersions<string | null>(told),
    message,
  );
  void EPOCH;
}
