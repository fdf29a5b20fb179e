import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isolate } from '../../src/flow/isolate.ts';

class Bad extends Error {}

/** What was done and what was set aside, in order. */
async function run(
  items: readonly boolean[],
): Promise<{ done: number[]; aside: number[]; attempts: number }> {
  const done: number[] = [];
  const aside: number[] = [];
  let attempts = 0;
  await isolate({
    count: items.length,
    isBad: (error) => error instanceof Bad,
    async attempt(from, to) {
      attempts += 1;
      if (items.slice(from, to).includes(false)) throw new Bad();
      for (let at = from; at < to; at++) done.push(at);
    },
    async setAside(index) {
      aside.push(index);
    },
  });
  return { done, aside, attempts };
}

test('every good item is done once and in order, every bad one is set aside', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 60 }), async (items) => {
      const { done, aside } = await run(items);
      assert.deepEqual(
        done,
        items.flatMap((good, at) => (good ? [at] : [])),
      );
      assert.deepEqual(
        aside,
        items.flatMap((good, at) => (good ? [] : [at])),
      );
    }),
  );
});

test('one bad item among 1024 costs about twice its logarithm', async () => {
  const { attempts } = await run(Array.from({ length: 1024 }, (_, at) => at !== 700));
  assert.ok(attempts <= 21, `${attempts} attempts`);
});

test('a failure that is nobody’s fault stops at once and keeps what was done', async () => {
  const done: number[] = [];
  const work = isolate({
    count: 4,
    isBad: (error) => error instanceof Bad,
    async attempt(from, to) {
      if (from === 0 && to === 4) throw new Bad();
      if (from === 2) throw new Error('connection lost');
      done.push(from, to);
    },
    async setAside() {
      assert.fail('nothing is bad');
    },
  });
  await assert.rejects(work, /connection lost/);
  assert.deepEqual(done, [0, 2]);
});
