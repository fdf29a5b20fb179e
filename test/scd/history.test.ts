import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { editsBetween, editsFor, type Edits } from '../../src/scd/edits.ts';
import { eventsOf, historyOf, settle, type Arrival, type History } from '../../src/scd/history.ts';
import { StoredKey } from './table.ts';

const up = (ts: number, image: string): Arrival<string> => ({ kind: 'upsert', ts, image });
const del = (ts: number): Arrival<string> => ({ kind: 'delete', ts });
const snap = (ts: number, image: string): Arrival<string> => ({ kind: 'snapshot', ts, image });

/** "A[1,3) B[4,)" and the deletes that end nothing. */
function shown({ versions, orphans }: StoredKey): string {
  const parts = Array.from(versions)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([from, { to, image }]) => `${image}[${from},${to ?? ''})`);
  return [...parts, ...[...orphans].sort().map((ts) => `-${ts}`)].join(' ');
}

interface Rule {
  readonly rule: string;
  /** Each inner list is a batch. */
  readonly batches: readonly (readonly Arrival<string>[])[];
  readonly expected: string;
}

const RULES: readonly Rule[] = [
  { rule: 'an upsert begins a current version', batches: [[up(1, 'A')]], expected: 'A[1,)' },
  { rule: 'the next upsert ends it', batches: [[up(1, 'A')], [up(5, 'B')]], expected: 'A[1,5) B[5,)' },
  { rule: 'a delete ends the version that covers it', batches: [[up(1, 'A')], [del(5)]], expected: 'A[1,5)' },
  { rule: 'a row can come back', batches: [[up(1, 'A'), del(5)], [up(7, 'B')]], expected: 'A[1,5) B[7,)' },
  {
    rule: 'one batch is as good as many',
    batches: [[up(1, 'A'), del(5), up(7, 'B')]],
    expected: 'A[1,5) B[7,)',
  },
  {
    rule: 'a delete before anything else is remembered and ends what comes late',
    batches: [[del(5)], [up(3, 'A')]],
    expected: 'A[3,5)',
  },
  {
    rule: 'a delete after a delete is remembered',
    batches: [[up(1, 'A'), del(3), del(5)]],
    expected: 'A[1,3) -5',
  },
  {
    rule: 'a delete that a late delete displaces is remembered',
    batches: [[up(1, 'A')], [del(5)], [del(3)], [up(4, 'B')]],
    expected: 'A[1,3) B[4,5)',
  },
  {
    rule: 'a late upsert splits the version that covers it',
    batches: [[up(1, 'A'), up(9, 'C')], [up(5, 'B')]],
    expected: 'A[1,5) B[5,9) C[9,)',
  },
  {
    rule: 'a late upsert before everything ends where the first begins',
    batches: [[up(5, 'B')], [up(1, 'A')]],
    expected: 'A[1,5) B[5,)',
  },
  {
    rule: 'a late delete cuts a closed version short',
    batches: [[up(1, 'A'), up(9, 'B')], [del(4)]],
    expected: 'A[1,4) B[9,)',
  },
  {
    rule: 'a late upsert in a gap ends where the gap ended',
    batches: [[up(1, 'A'), del(3), up(9, 'C')], [up(5, 'B')]],
    expected: 'A[1,3) B[5,9) C[9,)',
  },
  {
    rule: 'the same change again changes nothing',
    batches: [[up(1, 'A'), up(5, 'B')], [up(1, 'A')], [up(5, 'B')]],
    expected: 'A[1,5) B[5,)',
  },
  {
    rule: 'the same delete again changes nothing',
    batches: [[up(1, 'A'), del(5)], [del(5)]],
    expected: 'A[1,5)',
  },
  {
    rule: 'at one time the later in partition order replaces',
    batches: [[up(1, 'A')], [up(1, 'B')]],
    expected: 'B[1,)',
  },
  { rule: 'also inside a batch', batches: [[up(1, 'A'), up(1, 'B')]], expected: 'B[1,)' },
  {
    rule: 'a delete at the time of an upsert takes its version away',
    batches: [[up(1, 'A'), up(5, 'B')], [del(5)]],
    expected: 'A[1,5)',
  },
  {
    rule: 'an upsert at the time of a delete begins there',
    batches: [[up(1, 'A'), del(5)], [up(5, 'B')]],
    expected: 'A[1,5) B[5,)',
  },
  {
    rule: 'an update to the same values is a version of its own',
    batches: [[up(1, 'A')], [up(5, 'A')]],
    expected: 'A[1,5) A[5,)',
  },
  {
    rule: 'a snapshot that finds its image writes nothing',
    batches: [[up(1, 'A'), snap(5, 'A')]],
    expected: 'A[1,)',
  },
  {
    rule: 'a snapshot that finds another image is an upsert',
    batches: [[up(1, 'A'), snap(5, 'B')]],
    expected: 'A[1,5) B[5,)',
  },
  {
    rule: 'a snapshot that finds no row is an upsert',
    batches: [[up(1, 'A'), del(3), snap(5, 'A')]],
    expected: 'A[1,3) A[5,)',
  },
];

describe('what a history table must say (DESIGN.md, SCD2)', () => {
  for (const { rule, batches, expected } of RULES)
    test(rule, () => {
      const stored = new StoredKey();
      for (const batch of batches) stored.apply({ eventsOf, settle, historyOf, editsBetween }, batch);
      assert.equal(shown(stored), expected);
    });
});

describe('the edits touch no more than they must', () => {
  const stored: History<string> = {
    versions: [
      { from: 1, to: 5, image: 'stored' },
      { from: 5, to: null, image: 'stored' },
    ],
    orphanDeletes: [],
  };
  const nothing: Edits<string> = {
    insert: [],
    end: [],
    replace: [],
    remove: [],
    addOrphans: [],
    removeOrphans: [],
  };

  test('a late upsert re-ends one version and inserts one', () => {
    assert.deepEqual(editsFor(stored, [up(3, 'B')]), {
      ...nothing,
      insert: [{ from: 3, to: 5, image: 'B' }],
      end: [{ from: 1, to: 3 }],
    });
  });

  test('a version made current again is ended at null', () => {
    const closed: History<string> = { versions: [{ from: 1, to: 5, image: 'stored' }], orphanDeletes: [] };
    const open: History<string> = { versions: [{ from: 1, to: null, image: 'stored' }], orphanDeletes: [] };
    assert.deepEqual(editsBetween(closed, open), { ...nothing, end: [{ from: 1, to: null }] });
  });

  test('a delete that ends a version after all is forgotten as an orphan', () => {
    const orphan: History<string> = { versions: [], orphanDeletes: [5, 7] };
    assert.deepEqual(editsFor(orphan, [up(3, 'A')]), {
      ...nothing,
      insert: [{ from: 3, to: 5, image: 'A' }],
      removeOrphans: [5],
    });
  });

  test('an image at a known start is offered for comparison, and nothing else', () => {
    assert.deepEqual(editsFor(stored, [up(5, 'B')]), { ...nothing, replace: [{ from: 5, image: 'B' }] });
  });

  test('no changes, no edits', () => {
    assert.deepEqual(editsFor(stored, []), nothing);
  });

  test('what people wrote wrongly is read without harm: the later start wins, empty versions hold nothing', () => {
    const odd: History<string> = {
      versions: [
        { from: 1, to: 9, image: 'A' },
        { from: 5, to: 7, image: 'B' },
        { from: 8, to: 8, image: 'C' },
      ],
      orphanDeletes: [],
    };
    assert.deepEqual(historyOf(eventsOf(odd)), {
      versions: [
        { from: 1, to: 5, image: 'A' },
        { from: 5, to: 7, image: 'B' },
      ],
      orphanDeletes: [8],
    });
  });
});
