import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { backoff } from '../../src/flow/backoff.ts';

test('waits stay within the limits whatever the dice say', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: 1, max: 60_000 }),
      fc.array(fc.double({ min: 0, max: 0.999999, noNaN: true }), { minLength: 1, maxLength: 50 }),
      (initialMs, maxMs, dice) => {
        let at = 0;
        const waits = backoff({ initialMs, maxMs, random: () => dice[at++ % dice.length] ?? 0 });
        for (let i = 0; i < 50; i++) {
          const wait = waits.next();
          assert.ok(wait >= Math.min(initialMs, maxMs) && wait <= maxMs);
        }
      },
    ),
  );
});

test('waits grow while failures last and are short again after a success', () => {
  const waits = backoff({ initialMs: 100, maxMs: 10_000, random: () => 0.999999 });
  const first = [waits.next(), waits.next(), waits.next(), waits.next(), waits.next(), waits.next()];
  assert.deepEqual(first, [300, 900, 2700, 8100, 10_000, 10_000]);
  waits.reset();
  assert.equal(waits.next(), 300);
});
