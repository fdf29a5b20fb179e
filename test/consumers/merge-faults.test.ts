import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createDeltaMerge } from '../../src/consumers/delta-merge.ts';
import { record, type Fault } from './fakes.ts';
import { plans, play } from './merge-world.ts';
import { mutated, type Mutant } from './mutants.ts';

test('whatever fails, is repeated, edited or changes hands: each change is merged exactly once and in order', async () => {
  const tally = { runs: 0, fenced: 0, lostAnswers: 0, halved: 0, waited: 0, overwritten: 0 };
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      const happened = await play(plan, createDeltaMerge);
      tally.runs += 1;
      tally.fenced += Math.min(1, happened.fenced);
      tally.lostAnswers += Math.min(1, happened.lostAnswers);
      tally.halved += Math.min(1, happened.halved);
      tally.waited += Math.min(1, happened.waited);
      tally.overwritten += Math.min(1, happened.overwritten);
    }),
    { numRuns: 2500 },
  );
  // The test is only worth something if such things happened.
  for (const [what, times] of Object.entries(tally))
    assert.ok(times > tally.runs / 40, `${what}: ${JSON.stringify(tally)}`);
});

describe('a merge that failed counts once', () => {
  const laid = (kind: 'good' | 'delete', key: number, offset: number) => ({
    kind,
    key: String(key),
    record: record(kind, key, offset),
  });
  const failing = (fault: Fault): Fault[] => ['none', 'none', 'none', 'none', 'none', 'none', fault];

  // Seed -983333472, after 597 plans.
  test('though another replica has moved one of its partitions to the same offset', async () => {
    await play(
      {
        topic: [[laid('good', 0, 0), laid('delete', 0, 1)], [laid('good', 10, 0)]],
        faults: failing('before'),
        steps: [
          { kind: 'deliver', partition: 1, size: 1, to: 'owner' },
          { kind: 'overtake', partition: 0, size: 2 },
          { kind: 'tend', replica: 1, wait: false },
        ],
        maxChanges: 3,
      },
      createDeltaMerge,
    );
  });

  // Seed -1559311593, after 1795 plans.
  test('though besides that its other partition was lost, and came back', async () => {
    await play(
      {
        topic: [[laid('good', 0, 0)], [laid('good', 10, 0)]],
        faults: failing('operator'),
        steps: [
          { kind: 'overtake', partition: 0, size: 1 },
          { kind: 'overtake', partition: 1, size: 1 },
          { kind: 'zombie', partition: 1 },
        ],
        maxChanges: 2,
      },
      createDeltaMerge,
    );
  });
});

const MUTANTS: readonly (Mutant & { readonly by: RegExp })[] = [
  {
    name: 'tells tools of offsets that are not merged',
    file: 'consumers/delta-merge.ts',
    find: 'return position === null || !held ? position : stored;',
    put: 'return position;',
    by: /runs ahead/,
  },
  {
    name: 'merges what it holds of a partition that was taken away',
    file: 'consumers/merge-hand.ts',
    find: 'return this.#parts.filter(({ own, next }) => !own.gone && own.stored < next);',
    put: 'return this.#parts.filter(({ own, next }) => own.stored < next);',
    by: /./,
  },
  {
    name: 'does not read a fenced partition anew',
    file: 'consumers/delta-merge.ts',
    find: 'stream.reread(partitions);',
    put: '',
    by: /no progress/,
  },
  {
    name: 'does not ask the sink after a failure, and takes the merge for failed',
    file: 'consumers/merge-hand.ts',
    find: 'if (this.#unsure) await this.#askSink(signal);',
    put: '',
    by: /./,
  },
  {
    name: 'takes its own word for where the sink is: a lost answer is merged again',
    file: 'consumers/merge-hand.ts',
    find: 'if (this.#unsure) await this.#askSink(signal);',
    put: `if (this.#unsure) {
      const at = await this.#options.sink.claim(this.partitions, () => 0n);
      for (const { own } of this.#open()) own.stored = at.get(own.partition) ?? 0n;
      this.#unsure = false;
    }`,
    by: /./,
  },
  {
    name: 'counts a merge twice that landed though its answer was lost',
    file: 'consumers/merge-hand.ts',
    find: 'doubt.landed(null);',
    put: 'doubt.landed(null), doubt.landed(null);',
    by: /counted twice/,
  },
  {
    name: 'merges the first change of a key',
    file: 'consumers/merge-hand.ts',
    find: 'changes.map((change) => [change.key, change])',
    put: 'changes.toReversed().map((change) => [change.key, change])',
    by: /deep-equal/,
  },
  {
    name: 'moves the offset though the letter was not acknowledged',
    file: 'consumers/partition-letters.ts',
    find: 'await this.#options.deadLetters.send(unsent);',
    put: 'await this.#options.deadLetters.send(unsent).catch(() => {});',
    by: /not acknowledged|in silence/,
  },
  {
    name: 'tries a refused record again for ever',
    file: 'consumers/merge-hand.ts',
    find: 'this.#refused.set(cell.item.record, error);',
    put: '',
    by: /no progress/,
  },
  {
    name: 'loses the superseded change where the superseding one is refused',
    file: 'consumers/merge-hand.ts',
    find: 'const left = part.items.filter(({ record }) => record.offset >= part.own.stored);',
    put: `const left = [...new Map(part.items.map((item) => [String(item.record.key), item])).values()]
        .sort((a, b) => Number(a.record.offset - b.record.offset))
        .filter(({ record }) => record.offset >= part.own.stored);`,
    by: /./,
  },
  {
    name: 'does not pass over its own changes',
    file: 'consumers/merge-intake.ts',
    find: 'buffer.pass(partition, own, next, clock(), next >= end);',
    put: 'buffer.pass(partition, 0, next, clock());',
    by: /runs ahead|no progress/,
  },
  {
    name: 'holds more than it may',
    file: 'flow/merge-buffer.ts',
    find: 'if (this.#records > 0 && (this.#records >= records ||',
    put: 'if (this.#records > 0 && (this.#records > records ||',
    by: /too large/,
  },
  {
    name: 'lets a batch wait for ever whose partition was taken away',
    file: 'consumers/delta-merge.ts',
    find: `    room.ring();
    news.ring();
  }`,
    put: '  }',
    by: /does not end|no progress/,
  },
];

describe('the property is worth something: a consumer that', () => {
  for (const { by, ...mutant } of MUTANTS)
    test(`${mutant.name} is caught`, async () => {
      await mutated(mutant, async (create) => {
        await assert.rejects(
          fc.assert(
            fc.asyncProperty(plans, async (plan) => void (await play(plan, create))),
            { numRuns: 3000, endOnFailure: true, seed: 4 },
          ),
          (error: Error) => {
            assert.ok(error.cause instanceof assert.AssertionError, String(error.cause));
            assert.match(error.cause.message, by);
            return true;
          },
        );
      });
    });
});
