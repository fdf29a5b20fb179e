import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  isUnderWay,
  nextLoadPhase,
  phasesBefore,
  type LoadEvent,
  type LoadPhase,
} from '../../src/flow/load-state.ts';

/** Every phase and event, by hand; null: it cannot happen. */
const EXPECTED: { readonly [P in LoadPhase]: { readonly [E in LoadEvent]: LoadPhase | null } } = {
  snapshot: { published: 'handover', 'handed-over': null, 'given-up': 'failed' },
  handover: { published: null, 'handed-over': 'live', 'given-up': 'failed' },
  live: { published: null, 'handed-over': null, 'given-up': null },
  failed: { published: null, 'handed-over': null, 'given-up': null },
};

describe('the phases of a load', () => {
  for (const [phase, events] of Object.entries(EXPECTED))
    for (const [event, next] of Object.entries(events))
      it(`${phase}, ${event}: ${next ?? 'cannot happen'}`, () => {
        assert.equal(nextLoadPhase(phase as LoadPhase, event as LoadEvent), next);
      });

  it('names the phases that an event may come from', () => {
    assert.deepEqual(phasesBefore('published'), ['snapshot']);
    assert.deepEqual(phasesBefore('handed-over'), ['handover']);
    assert.deepEqual(phasesBefore('given-up'), ['snapshot', 'handover']);
  });

  it('a load that has ended, well or not, holds nobody back', () => {
    const under = (['snapshot', 'handover', 'live', 'failed'] as const).filter(isUnderWay);
    assert.deepEqual(under, ['snapshot', 'handover']);
    for (const phase of under)
      assert.ok(
        (['published', 'handed-over', 'given-up'] as const).some(
          (event) => nextLoadPhase(phase, event) !== null,
        ),
        `${phase} cannot be left`,
      );
  });
});
