import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeldByLoadError } from '../../src/ports/history-sink.ts';
import { fakeMergeSink } from '../support/fake-merge-sink.ts';
import { batchOf, record } from './fakes.ts';
import { mergeUnderTest } from './merging.ts';

test('merges wait while a load fills the table, say so once and not as a failure, then go on', async () => {
  let held = true;
  const sink = fakeMergeSink({
    onMerge: () => {
      if (held) throw new HeldByLoadError('load-1', 'The table');
    },
  });
  let claims = 0;
  const claim: typeof sink.claim = (...args) => {
    claims += 1;
    return sink.claim(...args);
  };
  const merge = mergeUnderTest({ sink: { ...sink, claim } });
  await merge.handler.assigned(new Map([[0, { low: 0n, high: 10n }]]));
  const keepAlive = () => Promise.resolve();
  await merge.handler.batch(batchOf([record('good', 0, 0)], 0n, 1n), keepAlive);
  const signal = new AbortController().signal;
  const waits: number[] = [];
  for (let tries = 0; tries < 8; tries++) {
    const ms = await merge.tend(signal);
    if (ms > 0) waits.push(ms);
    merge.time.ms += ms;
  }
  assert.deepEqual(waits, [200, 500, 500, 500]);
  // What comes meanwhile is taken in.
  assert.equal((await merge.handler.batch(batchOf([record('good', 1, 1)], 1n, 2n), keepAlive)).kind, 'done');
  held = false;
  await merge.settle();
  assert.deepEqual(
    merge.states.map(({ kind }) => kind),
    ['running', 'waiting for a load', 'running'],
  );
  assert.equal(sink.offsets.get(0), 2n);
  assert.equal(sink.rows.size, 2);
  assert.equal(claims, 1, 'nothing is in doubt');
  assert.equal(merge.deadLetters.letters.length, 0);
});
