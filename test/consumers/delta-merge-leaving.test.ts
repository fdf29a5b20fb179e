import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { MergeSink } from '../../src/ports/merge-sink.ts';
import { fakeMergeSink } from '../support/fake-merge-sink.ts';
import { mergeUnderTest } from './merging.ts';

test('a merge loop ends at once though it waits for another replica’s merge to be told where to start', async () => {
  const stop = new AbortController();
  const sink: MergeSink = {
    ...fakeMergeSink(),
    claim: (_partitions, _startAt, signal) =>
      new Promise((_, reject) =>
        signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
      ),
  };
  const merge = mergeUnderTest({ sink });
  const running = merge.run(stop.signal);
  let asked = false;
  const asking = merge.handler.assigned(new Map([[0, { low: 0n, high: 9n }]])).finally(() => (asked = true));
  await setImmediate();
  assert.equal(asked, false);
  stop.abort(new Error('told to stop'));
  await setImmediate();
  assert.equal(asked, true);
  assert.deepEqual(await asking, new Map());
  await running;
  assert.deepEqual(merge.states, [], 'it is no trouble');
});
