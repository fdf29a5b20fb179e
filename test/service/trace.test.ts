import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../src/service/logger.ts';
import { tracedChangeLog, tracedHistorySink, tracedMergeSink } from '../../src/service/trace.ts';

const logger = createLogger({ level: 'silent', format: 'json' });

/** Of every method: what it was given. */
function recorder(...answers: readonly (readonly [string, unknown])[]) {
  const given = new Map<string, readonly unknown[]>();
  const port = Object.fromEntries(
    answers.map(([name, answer]) => [
      name,
      async (...args: readonly unknown[]) => {
        given.set(name, args);
        return answer;
      },
    ]),
  );
  return { port: port as never, given };
}

// A signal that got lost here let a replica wait for two minutes although it was told to stop.
test('tracing hands on everything that a port is given', async () => {
  const { signal } = new AbortController();
  const startAt = (): bigint => 0n;
  const merges = recorder(['claim', new Map()], ['merge', {}], ['optimize', undefined], ['close', undefined]);
  const merging = tracedMergeSink(merges.port, logger);
  await merging.claim([1], startAt, signal);
  await merging.merge([], signal);
  await merging.optimize(signal);
  await merging.close();
  assert.deepEqual(
    [...merges.given],
    [
      ['claim', [[1], startAt, signal]],
      ['merge', [[], signal]],
      ['optimize', [signal]],
      ['close', []],
    ],
  );

  const histories = recorder(['claim', new Map()], ['apply', {}], ['close', undefined]);
  const history = tracedHistorySink(histories.port, logger);
  const batch = { partition: 0, expected: 0n, next: 1n, changes: [] };
  await history.claim([1], startAt);
  await history.apply(batch);
  await history.close();
  assert.deepEqual(
    [...histories.given],
    [
      ['claim', [[1], startAt]],
      ['apply', [batch]],
      ['close', []],
    ],
  );

  const logs = recorder(['open', null], ['publish', undefined], ['close', undefined]);
  const log = tracedChangeLog(logs.port, logger);
  const published = { changes: [], rejected: [], position: {} };
  await log.open();
  await log.publish(published);
  await log.close();
  assert.deepEqual(
    [...logs.given],
    [
      ['open', []],
      ['publish', [published]],
      ['close', []],
    ],
  );
});
