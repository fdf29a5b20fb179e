import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { jumpBehind, outcomeOf, standingAgain, standingOf, toStore } from '../../src/flow/feed-jump.ts';
import { withStopNote } from '../../src/flow/stop-note.ts';

const from = { tableId: 'x', version: 3, groups: 2, stamp: 's' };
const position = { tableId: 'x', version: 9, groups: 0 };
const stop = { code: 'DELTA_VERSIONS_GONE', message: 'vacuumed "4"' };
const load = { version: 8, began: '2026-01-02', live: false };
const jump = jumpBehind(load, from, stop)!;

describe('a feed that has gone on behind a load', () => {
  it('reads what it has stored', () => {
    for (const standing of [
      { position, jump },
      { position, jump: null },
      { position: withStopNote(position, { ...stop, since: '' }), jump },
    ])
      assert.deepEqual(standingOf(toStore(standing)), standing);
    assert.deepEqual(standingOf(null), { position: null, jump: null });
    assert.ok(Object.values(toStore({ position, jump })).every((value) => typeof value !== 'object'));
  });

  it('stands again where it stood before, until a later load', () => {
    assert.deepEqual(standingAgain(jump), withStopNote(from, { ...stop, since: load.began }));
    const later = jumpBehind({ ...load, began: '2026-01-03' }, standingAgain(jump), stop)!;
    assert.deepEqual(standingAgain(later), withStopNote(from, { ...stop, since: '2026-01-03' }));
  });

  it('has gone on behind another before, and remembers that, too', () => {
    const later = jumpBehind({ ...load, began: '2026-01-03' }, toStore({ position, jump }), stop)!;
    assert.deepEqual(standingOf(toStore(standingOf(toStore({ position, jump: later })))).jump, later);
    assert.deepEqual(standingOf(later.from), { position, jump });
  });

  it('remembers nothing of a load that is live', () => {
    assert.equal(jumpBehind({ ...load, live: true }, from, stop), null);
  });

  it('waits for a load that is under way, and for none that was given up or is not known', () => {
    assert.deepEqual(
      (['snapshot', 'handover', 'live', 'failed', null] as const).map((phase) => outcomeOf(phase)),
      ['awaited', 'awaited', 'brought', 'given-up', 'given-up'],
    );
  });

  it('remembers nothing that makes no sense', () => {
    for (const before of ['{', 'null', '7', '{}', 4])
      assert.deepEqual(standingOf({ ...position, before }), { position, jump: null });
  });
});
