import assert from 'node:assert/strict';
import { until } from './until.ts';
import type { Worker } from './worker.ts';

/** A worker that is still alive ends with 0 when it is asked to, once it has come so far as to hear that. */
export async function endsWell(worker: Worker): Promise<void> {
  const last = (): string => JSON.stringify(worker.lines.at(-1));
  assert.ok(worker.alive(), `a worker has ended by itself: ${last()}`);
  await until('the worker to run', () => worker.lines.some(({ msg }) => msg === 'starting'));
  assert.equal(await worker.stop(), 0, `a worker that was asked to stop did not end well: ${last()}`);
}
