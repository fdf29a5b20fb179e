import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BatchOutcome, StreamRecord } from '../../src/ports/record-stream.ts';
import { fakeMergeSink } from '../support/fake-merge-sink.ts';
import { batchOf, record } from './fakes.ts';
import { mergeUnderTest, type MergeUnderTest } from './merging.ts';

const keepAlive = (): Promise<void> => Promise.resolve();
const forever = new AbortController().signal;
const wholeTopic = new Map([[0, { low: 0n, high: 100_000n }]]);
/** Good ones of these keys at the offsets from `from` on. */
function records(from: number, ...keys: number[]): StreamRecord[] {
  return keys.map((key, at) => record('good', key, from + at));
}

function deliver(
  { handler }: MergeUnderTest,
  from: number,
  given: readonly StreamRecord[],
): Promise<BatchOutcome> {
  return handler.batch(batchOf(given, BigInt(from), BigInt(from + given.length)), keepAlive);
}

/** Whether it is still not over after everything that can happen at once has happened. */
async function isPending(work: Promise<unknown>): Promise<boolean> {
  let over = false;
  void work.finally(() => (over = true));
  await new Promise((resolve) => setImmediate(resolve));
  return !over;
}

describe('files are put together', () => {
  test('on their schedule, and only while nothing is held', async () => {
    const merge = mergeUnderTest({ optimizeEveryMs: 60_000 });
    await merge.handler.assigned(wholeTopic);
    await merge.settle();
    assert.equal(merge.sink.optimized, 0);
    await deliver(merge, 0, records(0, 1));
    merge.time.ms = 50_000;
    let wait = 0;
    while (wait === 0) wait = await merge.tend(forever);
    assert.equal(wait, 10_000);
    merge.time.ms = 100_000;
    await deliver(merge, 1, records(1, 2));
    assert.equal(await merge.tend(forever), 200);
    assert.deepEqual([merge.sink.merges.length, merge.sink.optimized], [1, 0]);
    await merge.settle();
    assert.deepEqual([merge.sink.merges.length, merge.sink.optimized], [2, 1]);
    // Nothing was written since.
    merge.time.ms = 300_000;
    await merge.settle();
    assert.equal(merge.sink.optimized, 1);
  });

  test('never, unless asked for', async () => {
    const merge = mergeUnderTest();
    await merge.handler.assigned(wholeTopic);
    await deliver(merge, 0, records(0, 1));
    await merge.settle();
    merge.time.ms = 1e9;
    await merge.settle();
    assert.equal(merge.sink.optimized, 0);
  });

  test('and give way as soon as something comes', async () => {
    const sink = fakeMergeSink();
    const begun: { times: number } = { times: 0 };
    const merge = mergeUnderTest({
      optimizeEveryMs: 1000,
      sink: {
        ...sink,
        optimize: (signal) => {
          begun.times += 1;
          return new Promise((resolve) => signal?.addEventListener('abort', () => resolve()));
        },
      },
    });
    await merge.handler.assigned(wholeTopic);
    await deliver(merge, 0, records(0, 1));
    for (let tries = 0; begun.times === 0; tries++) {
      assert.ok(tries < 10);
      const tending = merge.tend(forever);
      if (begun.times > 0) {
        await deliver(merge, 1, records(1, 2));
        assert.ok(!(await isPending(tending)));
      } else merge.time.ms += await tending;
    }
    merge.time.ms += 200;
    await merge.tend(forever);
    assert.equal(sink.rows.size, 2);
  });
});
