import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { within } from '../../src/flow/within.ts';

const late = () => new Error('late');

describe('work with a deadline', () => {
  it('gives its result or its failure', async () => {
    assert.equal(await within(Promise.resolve(5), 1000, late), 5);
    await assert.rejects(within(Promise.reject(new Error('own')), 1000, late), /own/);
  });

  it('is late, or ends with the signal', async () => {
    await assert.rejects(within(delay(5000, undefined, { ref: false }), 5, late), /late/);
    const stop = new AbortController();
    const stopped = within(delay(5000, undefined, { ref: false }), 5000, late, stop.signal);
    stop.abort(new Error('stopped'));
    await assert.rejects(stopped, /stopped/);
  });

  it('that fails after nobody waits for it any more is nobody’s failure', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    const fails = () => delay(10).then(() => Promise.reject(new Error('own')));
    await assert.rejects(within(fails(), 1, late), /late/);
    await assert.rejects(within(fails(), 1000, late, AbortSignal.abort(new Error('stopped'))), /stopped/);
    await delay(50);
    process.off('unhandledRejection', note);
    assert.deepEqual(unhandled, []);
  });
});
