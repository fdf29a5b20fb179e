import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editsBetween } from '../../src/scd/edits.ts';
import { eventsOf, historyOf, settle, type Arrival } from '../../src/scd/history.ts';
import { anyOrder, Shares, withTies, type Delivery, type Situation } from './deliveries.ts';
import { checkAll, INVARIANTS, type Invariant, type Outcome } from './invariants.ts';
import { trueVersions, type Told } from './oracle.ts';
import { StoredKey, type Algebra } from './table.ts';

const REAL: Algebra = { eventsOf, settle, historyOf, editsBetween };

test('H1, H2, H3, H5: any order, any duplicates, any batching give the history that the changes tell', () => {
  const shares = new Shares();
  fc.assert(
    fc.property(anyOrder, (delivery) => {
      shares.note(delivery);
      judge(deliver(REAL, delivery));
    }),
    { numRuns: 9_000 },
  );
  assertShares(shares, { late: 0.5, delete: 0.5, reinsert: 0.2, duplicate: 0.3, deleteFirst: 0.1 });
});

test('at one time the last in partition order counts, however the batches are cut', () => {
  const shares = new Shares();
  fc.assert(
    fc.property(withTies, (delivery) => {
      shares.note(delivery);
      judge(deliver(REAL, delivery));
    }),
    { numRuns: 4_000 },
  );
  assertShares(shares, { tie: 0.3, late: 0.5, delete: 0.5, reinsert: 0.2 });
});

test('events and history are two forms of the same: each gives back the other', () => {
  fc.assert(
    fc.property(withTies, ({ batches }) => {
      const events = settle(batches.flat().map(arrivalOf));
      assert.deepEqual(eventsOf(historyOf(events)), events);
    }),
    { numRuns: 2_000 },
  );
});

test('times beyond 2^53 order with the others', () => {
  const far = 9_007_199_254_740_993n;
  const outcome = deliver(REAL, {
    before: [],
    batches: [[{ ts: far, image: 'B' }], [{ ts: 5, image: 'A' }], [{ ts: far + 2n, image: null }]],
  });
  judge(outcome);
  assert.deepEqual(outcome.versions, [
    { from: 5, to: far, image: 'A' },
    { from: far, to: far + 2n, image: 'B' },
  ]);
});

/** Each broken algebra must be caught by the check of the invariant that it breaks. */
const MUTANTS: readonly { name: string; breaks: Invariant; algebra: Partial<Algebra> }[] = [
  {
    name: 'forgets deletes that end nothing',
    breaks: 'H1',
    algebra: { historyOf: (events) => ({ ...historyOf(events), orphanDeletes: [] }) },
  },
  {
    name: 'remembers such deletes only where nothing came before (a displaced delete is lost)',
    breaks: 'H1',
    algebra: {
      historyOf: (events) => {
        const history = historyOf(events);
        const first = events[0];
        return { ...history, orphanDeletes: history.orphanDeletes.filter((ts) => ts === first?.ts) };
      },
    },
  },
  {
    name: 'lets the first of two changes at one time win',
    breaks: 'H1',
    algebra: { settle: (arrivals) => settle(arrivals.toReversed()) },
  },
  {
    name: 'does not end the current version',
    breaks: 'H2',
    algebra: { editsBetween: (before, after) => ({ ...editsBetween(before, after), end: [] }) },
  },
  {
    name: 'takes changes in the order of arrival',
    breaks: 'H3',
    algebra: { settle: (arrivals) => arrivals.flatMap((arrival) => settle([arrival])) },
  },
  {
    name: 'ends a version at the next upsert, deletes or not',
    breaks: 'H5',
    algebra: { historyOf: (events) => historyOf(events.filter((event) => event.kind === 'upsert')) },
  },
  {
    name: 'leaves a microsecond between versions',
    breaks: 'H5',
    algebra: {
      historyOf: (events) => {
        const history = historyOf(events);
        const versions = history.versions.map((version) =>
          typeof version.to === 'number' && version.to - 0.25 > Number(version.from)
            ? { ...version, to: version.to - 0.25 }
            : version,
        );
        return { ...history, versions };
      },
    },
  },
];

for (const { name, breaks, algebra } of MUTANTS)
  test(`${breaks} is held by its check: an algebra that ${name} is caught`, () => {
    const broken = { ...REAL, ...algebra };
    const result = fc.check(
      fc.property(fc.oneof(anyOrder, withTies), (delivery) => {
        const outcome = quietly(() => deliver(broken, delivery));
        if (outcome !== null) INVARIANTS[breaks](outcome);
      }),
      { numRuns: 2_000, seed: 1 },
    );
    assert.ok(result.failed, `${breaks} held for an algebra that ${name}`);
    assert.match(String(result.errorInstance), new RegExp(breaks));
  });

function deliver(algebra: Algebra, { before, batches }: Delivery): Outcome<string> {
  const stored = new StoredKey();
  const past = trueHistory(before);
  for (const { from, to, image } of past.versions) stored.versions.set(from, { to, image });
  for (const ts of past.orphans) stored.orphans.add(ts);
  for (const batch of batches) stored.apply(algebra, batch.map(arrivalOf));
  const versions = Array.from(stored.versions, ([from, version]) => ({ from, ...version }));
  versions.sort((a, b) => (a.from < b.from ? -1 : 1));
  return { versions, told: [...before, ...batches.flat()] };
}

/** The past is laid down without the algebra under test. */
function trueHistory(told: readonly Told<string>[]) {
  const versions = trueVersions(told);
  const ends = new Set(versions.map(({ to }) => to));
  return {
    versions,
    orphans: told.filter(({ ts, image }) => image === null && !ends.has(ts)).map(({ ts }) => ts),
  };
}

function judge(outcome: Outcome<string>): void {
  checkAll(outcome);
  assert.deepEqual(outcome.versions, trueVersions(outcome.told));
}

function arrivalOf({ ts, image }: Told<string>): Arrival<string> {
  return image === null ? { kind: 'delete', ts } : { kind: 'upsert', ts, image };
}

/** A mutant may also trip over itself; that is not the catch that counts here. */
function quietly<T>(run: () => T): T | null {
  try {
    return run();
  } catch {
    return null;
  }
}

function assertShares(shares: Shares, least: Partial<Record<Situation, number>>): void {
  for (const [situation, share] of Object.entries(least))
    assert.ok(
      shares.of(situation as Situation) >= share,
      `only ${shares.of(situation as Situation)} of the deliveries had a ${situation}`,
    );
}
