import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Load, OthersWay, PinnedVersion } from '../../src/ports/load.ts';
import { runBackfill } from '../../src/producers/backfill.ts';
import { refuseCrossed } from '../../src/producers/load-others.ts';
import { beginningDeps, begunLoad, ENOUGH } from './beginning.ts';

const signal = AbortSignal.timeout(10_000);
const V: PinnedVersion = { tableId: 'table-1', version: 7, ts: 60, rows: 1 };
const LOAD: Load = { ...begunLoad('load-1'), captured: false, pinned: V, liveOffsets: [50n] };

/** One change that somebody has made in another Postgres; Delta has it once its offset is merged. */
function changedAt(
  ts: number,
  { offset = 50n, merged = 50n } = {},
): OthersWay & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    merged: async () => new Map([[0, merged]]),
    async earlier(of) {
      asked.push(`${of.ts} ${of.liveOffsets.join(' ')}`);
      return ts <= Number(of.ts) && offset >= of.liveOffsets[0]! ? '17' : null;
    },
  };
}

const refused = { code: 'LOAD_CONCURRENT', message: /version 7 .* for instance 17:/ };

describe('a load beside a Postgres whose changes go to Delta', () => {
  it('is refused before it has a version that is younger than a change which is not merged yet', async () => {
    const pinned: (readonly bigint[])[] = [];
    const run = (others: OthersWay) =>
      runBackfill(
        {
          ...beginningDeps({
            topics: { changesEnds: async () => [90n] },
            source: { pin: async () => V },
            loads: {
              async pinned(_: string, __: PinnedVersion, liveOffsets: readonly bigint[]) {
                pinned.push(liveOffsets);
                throw ENOUGH;
              },
            },
          }),
          others,
        },
        'new',
        signal,
      );
    await assert.rejects(run(changedAt(50)), refused);
    assert.deepEqual(pinned, [], 'resumed, it chooses another');
    await assert.rejects(run(changedAt(50, { merged: 51n })), ENOUGH);
    await assert.rejects(run(changedAt(61)), ENOUGH);
    assert.deepEqual(
      pinned,
      [[51n], [50n]],
      'another target that begins from its records has to read the later one',
    );
  });

  it('is refused before it is handed over, where such a change was published in the meantime', async () => {
    const others = changedAt(50);
    const handed: string[] = [];
    const run = (load: Load) =>
      runBackfill(
        {
          ...beginningDeps({ loads: { newest: async () => load } }),
          others,
          loader: { run: async () => {} },
          handover: {
            async fill({ id }: Load) {
              handed.push(id);
            },
            reconcile: () => Promise.reject(ENOUGH),
          },
        },
        'resume',
        signal,
      );
    const handover: Load = { ...LOAD, phase: 'handover', way: 'fill' };
    await assert.rejects(run(handover), refused);
    assert.deepEqual([handed, others.asked], [[], ['60 50']]);
  });

  for (const [what, load] of [
    ['a captured target, which waits for its own changes to be merged', { ...LOAD, captured: true }],
    ['a load from the topic, which asks in its own way', { ...LOAD, source: 'topic' }],
    ['a load into Delta', { ...LOAD, source: 'postgres' }],
  ] as const)
    it(`asks nothing for ${what}`, async () => {
      const others = changedAt(50);
      await refuseCrossed({ name: 'employees', onRetry: () => {}, others }, load, signal);
      assert.deepEqual(others.asked, []);
    });
});
