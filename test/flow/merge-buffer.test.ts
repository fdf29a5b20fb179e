import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BugError } from '../../src/errors.ts';
import { MergeBuffer, type MergeBufferOptions } from '../../src/flow/merge-buffer.ts';

const LIMITS: MergeBufferOptions = { records: 4, bytes: 100, minAgeMs: 10, maxAgeMs: 50 };

function buffer(more: Partial<MergeBufferOptions> = {}): MergeBuffer<string> {
  const made = new MergeBuffer<string>({ ...LIMITS, ...more });
  made.start(0, 5n);
  made.start(1, 0n);
  return made;
}

test('what is taken is what was held, up to the offset that was read', () => {
  const held = buffer();
  held.add(0, 'a', 1, 6n, 0);
  held.add(0, 'b', 1, 8n, 0);
  held.pass(0, 2, 12n, 0);
  held.add(1, 'c', 1, 1n, 0);
  assert.deepEqual(held.take(), [
    { partition: 0, next: 12n, items: ['a', 'b'], passed: 2 },
    { partition: 1, next: 1n, items: ['c'], passed: 0 },
  ]);
  assert.deepEqual(held.take(), []);
  held.add(0, 'd', 1, 13n, 0);
  assert.deepEqual(held.take(), [{ partition: 0, next: 13n, items: ['d'], passed: 0 }]);
});

test('control records alone are no reason to merge, and the next part covers them', () => {
  const held = buffer();
  held.pass(0, 0, 7n, 0);
  assert.deepEqual([held.dueIn(1000, 0), held.take(), held.position(0)], [Infinity, [], 7n]);
  held.add(0, 'a', 1, 8n, 0);
  assert.deepEqual(held.take(), [{ partition: 0, next: 8n, items: ['a'], passed: 0 }]);
});

describe('it is time for a merge', () => {
  const cases: {
    name: string;
    fill: (held: MergeBuffer<string>) => void;
    now: number;
    toCome?: number;
    dueIn: number;
  }[] = [
    { name: 'never while nothing is held', fill: () => {}, now: 10_000, dueIn: Infinity },
    {
      name: 'soon for a change',
      // The oldest counts.
      fill: (held) => [3, 4].forEach((at) => held.add(0, 'a', 1, 6n, at)),
      now: 4,
      dueIn: 9,
    },
    { name: 'now when it is old enough', fill: (held) => held.add(0, 'a', 1, 6n, 3), now: 13, dueIn: 0 },
    {
      name: 'later while more is to come than is held: a larger merge is the quicker one',
      fill: (held) => held.add(0, 'a', 1, 6n, 0),
      now: 20,
      toCome: 2,
      dueIn: 30,
    },
    {
      name: 'but not later than the highest age',
      fill: (held) => held.add(0, 'a', 1, 6n, 0),
      now: 50,
      toCome: 1e6,
      dueIn: 0,
    },
    { name: 'later for offsets alone', fill: (held) => held.pass(0, 1, 6n, 0), now: 20, dueIn: 30 },
    {
      name: 'at once when so many are held',
      fill: (held) => [6n, 7n, 8n, 9n].forEach((next) => held.add(0, 'a', 1, next, 0)),
      now: 0,
      toCome: 100,
      dueIn: 0,
    },
    {
      name: 'at once when something did not fit',
      fill: (held) => [6n, 7n].forEach((next) => held.add(0, 'a', 60, next, 0)),
      now: 0,
      dueIn: 0,
    },
  ];
  for (const { name, fill, now, toCome = 0, dueIn } of cases)
    test(name, () => {
      const held = buffer();
      fill(held);
      assert.equal(held.dueIn(now, toCome), dueIn);
    });
});

test('a record larger than the whole buffer passes, alone', () => {
  const held = buffer();
  assert.ok(held.add(0, 'large', 5000, 6n, 0));
  assert.ok(!held.add(1, 'b', 1, 1n, 0));
  held.take();
  assert.ok(held.add(1, 'b', 1, 1n, 0));
});

test('what was dropped is not taken, makes room and is in no hurry', () => {
  const held = buffer();
  [6n, 7n, 8n].forEach((next) => held.add(0, 'a', 30, next, 0));
  held.add(1, 'b', 1, 1n, 40);
  assert.ok(!held.add(1, 'c', 1, 2n, 40));
  held.drop([0]);
  assert.deepEqual([held.records, held.bytes, held.position(0)], [1, 1, null]);
  assert.ok(held.add(1, 'c', 1, 2n, 40));
  assert.throws(() => held.add(0, 'a', 1, 9n, 40), BugError);
  held.start(0, 5n);
  held.drop([1]);
  assert.deepEqual([held.dueIn(1e6, 0), held.isEmpty], [Infinity, true]);
});

test('offsets never go back', () => {
  const held = buffer();
  assert.throws(() => held.add(0, 'a', 1, 4n, 0), BugError);
});

// Memory is what a user would lose: the limits hold whatever comes, and nothing is lost or doubled.
test('property: the limits hold, and what is taken is what was added, in order', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          { weight: 8, arbitrary: fc.record({ partition: fc.nat(2), bytes: fc.nat(70) }) },
          { weight: 1, arbitrary: fc.constant('take' as const) },
        ),
        { maxLength: 80 },
      ),
      fc.integer({ min: 1, max: 9 }),
      (steps, records) => {
        const held = new MergeBuffer<number>({ ...LIMITS, records });
        const next = [0n, 0n, 0n];
        const added: number[][] = [[], [], []];
        const taken: number[][] = [[], [], []];
        const ends = [0n, 0n, 0n];
        for (const partition of [0, 1, 2]) held.start(partition, 0n);
        const take = (): void => {
          for (const { partition, next: end, items } of held.take()) {
            ends[partition] = end;
            taken[partition]?.push(...items);
          }
          assert.equal(held.records + held.bytes, 0);
        };
        steps.forEach((step, at) => {
          if (step === 'take') return take();
          const { partition, bytes } = step;
          const follow = (next[partition] ?? 0n) + 1n;
          if (!held.add(partition, at, bytes, follow, at)) {
            assert.equal(held.dueIn(at, 1e9), 0);
            take();
            assert.ok(held.add(partition, at, bytes, follow, at));
          }
          next[partition] = follow;
          added[partition]?.push(at);
          assert.ok(held.records <= records && (held.bytes <= LIMITS.bytes || held.records === 1));
        });
        take();
        assert.deepEqual([taken, ends], [added, next]);
      },
    ),
    { numRuns: 1000 },
  );
});
