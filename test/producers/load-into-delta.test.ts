import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OperatorError } from '../../src/errors.ts';
import type { Load } from '../../src/ports/load.ts';
import type { DeltaLoad, LoadFile, LoadFiles } from '../../src/ports/load-into-delta.ts';
import { createLoadIntoDelta } from '../../src/producers/load-into-delta.ts';
import { UNSEEN } from '../support/load-seen.ts';

const LOAD: Load = {
  id: 'load-1',
  recordsOf: 'load-1',
  name: 'employees',
  target: 'default.employees',
  topic: 'employees_backfill',
  source: 'postgres',
  way: 'reconcile',
  captured: false,
  logPosition: null,
  phase: 'handover',
  pinned: { tableId: 'table-1', version: 7, ts: 1000, rows: 40 },
  startOffsets: [0n],
  liveOffsets: null,
  endOffsets: [40n],
  publishedRows: 40,
  rejectedRows: 0,
  appliedRows: 40,
  startedAt: '2026-01-01T00:00:00Z',
  error: null,
  seen: UNSEEN,
};

/** Four files in two slices, and what was done with them. */
function world(merged: readonly number[] = []) {
  const done: string[] = [];
  const files = [0, 1, 2, 3].map((seq): LoadFile => ({
    partition: 0,
    seq,
    slice: Math.floor(seq / 2),
    path: `f${seq}`,
    rows: 10,
    place: { next: BigInt(seq * 10 + 10), skip: 0 },
  }));
  let staged: readonly LoadFile[] = files;
  const known = new Set(merged);
  const store: LoadFiles = {
    claim: async () => new Map(),
    note: async () => {},
    rows: async () => 40,
    complete: async () => staged.map((file) => ({ ...file, merged: known.has(file.slice) })),
    async merged(some) {
      for (const { slice } of some) known.add(slice);
    },
    async finish() {
      done.push('finish');
    },
  };
  const delta: DeltaLoad = {
    async merge(_, some) {
      done.push(`merge ${some.map(({ path }) => path).join(' ')}`);
      return { added: 1, corrected: 2 };
    },
    async removeAbsent(_, some) {
      done.push(`remove what is not in ${some.length}`);
      return 3;
    },
  };
  const handover = createLoadIntoDelta({
    files: () => store,
    delta: () => delta,
    signal: new AbortController().signal,
  });
  return {
    done,
    handover,
    empty: () => (staged = []),
    reconcile: (load: Load = LOAD) => handover.reconcile(load, () => {}, new AbortController().signal),
  };
}

describe('handing a load over to Delta', () => {
  it('merges slice by slice into a table that holds rows, then removes what is no more, then lets changes go on', async () => {
    const { done, reconcile } = world();
    assert.deepEqual(await reconcile(), { added: 2, corrected: 4, ended: 3 });
    assert.deepEqual(done, ['merge f0 f1', 'merge f2 f3', 'remove what is not in 4', 'finish']);
  });

  it('does not merge again what another process has merged', async () => {
    const { done, reconcile } = world([0]);
    await reconcile();
    assert.deepEqual(done, ['merge f2 f3', 'remove what is not in 4', 'finish']);
  });

  it('adds everything to an empty table at once, and removes nothing', async () => {
    const { done, handover } = world();
    const intoEmpty: Load = { ...LOAD, way: 'fill' };
    const { fill } = handover;
    await fill(intoEmpty);
    assert.deepEqual(done, ['merge f0 f1 f2 f3', 'finish']);
  });

  it('removes nothing where rows were set aside: one of them may be of that key', async () => {
    const { done, reconcile } = world();
    await reconcile({ ...LOAD, rejectedRows: 1 });
    assert.deepEqual(done, ['merge f0 f1', 'merge f2 f3', 'finish']);
  });

  it('does not empty a table because the other one has no rows', async () => {
    const { done, reconcile, empty } = world();
    empty();
    await assert.rejects(
      reconcile(),
      (error) => error instanceof OperatorError && error.code === 'LOAD_SOURCE_EMPTY',
    );
    assert.deepEqual(done, []);
  });
});
