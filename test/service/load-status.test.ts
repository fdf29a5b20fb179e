import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { watched } from '../../src/service/status.ts';
import type { LoadReading } from '../../src/service/status-readings.ts';

const LOADING: LoadReading = {
  id: 'load-1',
  source: 'delta',
  way: 'fill',
  phase: 'snapshot',
  running: true,
  version: 7,
  totalRows: 1_000_000,
  published: 600_000,
  rejected: 1000,
  applied: 400_000,
  startedAt: '2026-01-01T00:00:00Z',
  error: null,
};

/** Looked at twice: what is found the second time. */
async function status(first: LoadReading | null, second: LoadReading | null = first) {
  const found = [first, second];
  const began = performance.now();
  const seen = await watched({ load: async () => found.shift() ?? null });
  return { seen, looks: 2 - found.length, ms: performance.now() - began };
}

describe('the newest load in the status', () => {
  it('that is loading has the speed of this moment, and how long it takes at that', async () => {
    const { seen, ms } = await status(LOADING, { ...LOADING, applied: 550_000 });
    assert.equal(seen?.applied, 550_000);
    assert.ok(
      seen.rowsPerSecond! <= 100_000 && seen.rowsPerSecond! >= 150_000 / ((ms + 50) / 1000),
      String(seen.rowsPerSecond),
    );
    assert.equal(seen.secondsLeft, Math.round(449_000 / seen.rowsPerSecond!));
  });

  it('that stands still has no time left', async () => {
    const { seen } = await status(LOADING);
    assert.deepEqual([seen?.rowsPerSecond, seen?.secondsLeft], [0, null]);
  });

  for (const [what, load] of [
    ['that nobody carries out', { ...LOADING, running: false }],
    ['that has not chosen its version', { ...LOADING, totalRows: null }],
    ['of which every row is loaded that could be', { ...LOADING, applied: 999_000 }],
  ] as const)
    it(`${what} is looked at once`, async () => {
      const { seen, looks } = await status(load);
      assert.deepEqual([seen?.rowsPerSecond, seen?.secondsLeft, looks], [null, null, 1]);
    });

  it('is none where there was none, and has no speed where another one has begun meanwhile', async () => {
    assert.equal((await status(null)).seen, null);
    const { seen } = await status(LOADING, { ...LOADING, id: 'load-2' });
    assert.deepEqual([seen?.id, seen?.rowsPerSecond], ['load-1', null]);
  });
});
