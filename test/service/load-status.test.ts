import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { watched } from '../../src/service/status.ts';
import type { LoadReading } from '../../src/service/status-readings.ts';
import { UNSEEN } from '../support/load-seen.ts';

const LOADING: LoadReading = {
  ...UNSEEN,
  id: 'load-1',
  source: 'delta',
  way: 'fill',
  phase: 'snapshot',
  stage: 'loading',
  stageSeconds: 9,
  running: true,
  version: 7,
  totalRows: 1_000_000,
  read: 700_000,
  published: 600_000,
  rejected: 1000,
  applied: 400_000,
  startedAt: '2026-01-01T00:00:00Z',
  error: null,
};

const MOVING: LoadReading = {
  ...LOADING,
  phase: 'handover',
  stage: 'handing over',
  read: 1_000_000,
  published: 999_000,
  applied: 999_000,
  handoverSeconds: 20,
};

/** Looked at twice: what is found the second time. */
async function status(first: LoadReading | null, second: LoadReading | null = first) {
  const found = [first, second];
  const began = performance.now();
  const seen = await watched({ load: async () => found.shift() ?? null });
  return { seen, looks: 2 - found.length, ms: performance.now() - began };
}

/** To the second: the speed that is shown is rounded, too. */
function assertAbout(left: number | null, expected: number): void {
  assert.ok(left !== null && Math.abs(left - expected) <= 1, `${left} s left, about ${expected} expected`);
}

describe('the newest load in the status', () => {
  it('that is loading has the speed of each stage at this moment', async () => {
    const { seen, ms } = await status(LOADING, {
      ...LOADING,
      read: 1_000_000,
      published: 800_000,
      applied: 550_000,
    });
    assert.equal(seen?.applied, 550_000);
    const { read, published, applied } = seen.perSecond!;
    assert.ok(applied <= 100_000 && applied >= 150_000 / ((ms + 50) / 1000), `${applied} rows a second`);
    const near = (rate: number, times: number): boolean => Math.abs(rate - applied * times) <= 2;
    assert.ok(near(read, 2) && near(published, 4 / 3), JSON.stringify(seen.perSecond));
  });

  it('that is loading has a time left in which the hand-over is, too', async () => {
    const { seen } = await status(LOADING, { ...LOADING, applied: 550_000 });
    const { applied } = seen!.perSecond!;
    assertAbout(seen!.secondsLeft, 449_000 / applied + (0.5 * 999_000) / applied);
  });

  it('of which the last rows are loaded has the time of the hand-over left', async () => {
    const { seen } = await status(LOADING, { ...LOADING, applied: 999_000 });
    assertAbout(seen!.secondsLeft, (0.5 * 999_000) / seen!.perSecond!.applied);
  });

  it('that stands still has no time left, and one that begins anew no speed below nothing', async () => {
    for (const applied of [400_000, 0]) {
      const { seen } = await status(LOADING, { ...LOADING, applied });
      assert.deepEqual([seen?.perSecond?.applied, seen?.secondsLeft], [0, null]);
    }
  });

  it('that is moved into its table has left what that should take, and does not end before it has', async () => {
    const left = async (stageSeconds: number): Promise<unknown> =>
      (await status({ ...MOVING, stageSeconds })).seen?.secondsLeft;
    assert.deepEqual([await left(4), await left(19.9), await left(21)], [16, 1, null]);
    assert.equal((await status({ ...MOVING, handoverSeconds: null })).seen?.secondsLeft, null);
  });

  it('that is compared with its table has the speed of that, and the time by it', async () => {
    const { seen, looks } = await status({
      ...MOVING,
      way: 'reconcile',
      compared: 333_000,
      stageSeconds: 10,
    });
    assert.deepEqual(
      [seen?.perSecond, seen?.secondsLeft, looks],
      [{ read: 0, published: 0, applied: 0, compared: 33_300 }, 20, 1],
    );
  });

  for (const [what, load] of [
    ['that nobody carries out', { ...LOADING, running: false }],
    ['that has not chosen its version', { ...LOADING, totalRows: null }],
    ['that is being exported', { ...LOADING, stage: 'exporting' }],
    ['of which every row is loaded that could be', { ...LOADING, applied: 999_000 }],
    ['whose hand-over nobody carries out', { ...MOVING, running: false, compared: 5 }],
  ] as const)
    it(`${what} is looked at once`, async () => {
      const { seen, looks } = await status(load);
      assert.deepEqual([seen?.perSecond, seen?.secondsLeft, looks], [null, null, 1]);
    });

  it('is none where there was none, and has no speed where another one has begun meanwhile', async () => {
    assert.equal((await status(null)).seen, null);
    const { seen } = await status(LOADING, { ...LOADING, id: 'load-2' });
    assert.deepEqual([seen?.id, seen?.perSecond], ['load-1', null]);
  });
});
