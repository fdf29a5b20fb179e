import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Load, LoadNote } from '../../src/ports/load.ts';
import { runBackfill } from '../../src/producers/backfill.ts';
import type { BackfillDeps, BackfillProgress } from '../../src/producers/backfill-deps.ts';
import { withNotes } from '../../src/producers/load-notes.ts';
import { beginningDeps, begunLoad, ENOUGH } from './beginning.ts';
import { tick } from './fake-log.ts';

const LOADING: BackfillProgress = {
  load: 'load-1',
  source: 'delta',
  way: 'fill',
  stage: 'loading',
  pinned: { tableId: 'table-1', version: 7, ts: 1000, rows: 1000 },
  read: 100,
  published: 0,
  rejected: 0,
  applied: 0,
  compared: 0,
  heldUp: 0,
  handoverSeconds: null,
  backlog: null,
};

/** `slow`: turns that the database takes for a note. */
function start(slow = 0) {
  const notes: LoadNote[] = [];
  const told: BackfillProgress[] = [];
  const noted: { atFill: string | undefined } = { atFill: undefined };
  let now = 0;
  const deps = {
    loads: {
      async note(_: string, { stage, handoverSeconds, read, compared, heldUp }: LoadNote) {
        for (let turn = 0; turn < slow; turn++) await tick();
        notes.push({ stage, handoverSeconds, read, compared, heldUp });
      },
    },
    handover: {
      async fill() {
        noted.atFill = notes.at(-1)?.stage;
      },
    },
    onProgress: (progress: BackfillProgress) => told.push(progress),
  } as unknown as BackfillDeps;
  const { onProgress, handover } = withNotes(deps, () => now);
  async function tell(at: number, news: Partial<BackfillProgress>): Promise<void> {
    now = at;
    onProgress({ ...LOADING, ...news });
    for (let turn = 0; turn <= slow; turn++) await tick();
  }
  return { notes, told, noted, onProgress, handover, tell };
}

describe('what is noted of a load that runs', () => {
  it('is what it does and how far it is; nothing where that is as it was', async () => {
    const { notes, told, tell } = start();
    await tell(0, { stage: 'pinning', read: 0 });
    await tell(0, { read: 100 });
    await tell(0, { read: 100, applied: 50 });
    await tell(0, { stage: 'handing over', compared: 20, heldUp: 1 });
    await tell(0, { stage: 'done', compared: 20, heldUp: 1 });
    assert.deepEqual(notes, [
      { stage: 'pinning', handoverSeconds: null, read: 0, compared: 0, heldUp: 0 },
      { stage: 'loading', handoverSeconds: null, read: 100, compared: 0, heldUp: 0 },
      { stage: 'handing over', handoverSeconds: null, read: 100, compared: 20, heldUp: 1 },
    ]);
    assert.equal(told.length, 5, 'who carries it out is told everything');
  });

  it('has how long the hand-over should take, by how fast rows were loaded in this process', async () => {
    const { notes, told, tell } = start();
    await tell(0, { stage: 'pinning' });
    await tell(10_000, { applied: 200 });
    await tell(12_000, { applied: 1000 });
    await tell(12_500, { stage: 'catching up', applied: 1000 });
    await tell(13_000, { stage: 'handing over', applied: 1000 });
    await tell(14_000, { stage: 'handing over', applied: 1000, compared: 10 });
    // 400 rows a second, and half of that for each of 1000.
    assert.deepEqual(
      notes.map(({ handoverSeconds }) => handoverSeconds),
      [null, null, null, 1.25, 1.25],
    );
    assert.equal(told.at(-1)?.handoverSeconds, 1.25);
  });

  it('does not guess from rows that another process has loaded', async () => {
    const { notes, tell } = start();
    await tell(0, { applied: 1000 });
    await tell(100, { applied: 1000 });
    await tell(200, { stage: 'handing over', applied: 1000 });
    assert.deepEqual(notes.at(-1), {
      stage: 'handing over',
      handoverSeconds: null,
      read: 100,
      compared: 0,
      heldUp: 0,
    });
  });

  it('is there before the hand-over keeps the row to itself', async () => {
    const { onProgress, handover, noted } = start(20);
    onProgress(LOADING);
    onProgress({ ...LOADING, stage: 'handing over' });
    await handover.fill(begunLoad('load-1'));
    assert.equal(noted.atFill, 'handing over');
  });
});

describe('what a load stopped with', () => {
  it('is no longer said once somebody goes on with it', async () => {
    const stopped: Load = { ...begunLoad('load-1'), error: 'the disk is full' };
    const events: unknown[] = [];
    const deps = beginningDeps({
      source: {
        async pin() {
          events.push('work');
          throw ENOUGH;
        },
      },
      loads: {
        newest: async () => stopped,
        noteError: async (_: string, text: string | null) => void events.push(text),
      },
    });
    await assert.rejects(runBackfill(deps, 'resume', AbortSignal.timeout(10_000)), ENOUGH);
    assert.deepEqual(events, [null, 'work', ENOUGH.message]);
  });
});
