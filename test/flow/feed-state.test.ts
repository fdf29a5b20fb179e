import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nextFeedState, type FeedEvent, type FeedState } from '../../src/flow/feed-state.ts';

const error = new Error('x');
const states: Record<FeedState['name'], FeedState> = {
  standby: { name: 'standby' },
  starting: { name: 'starting' },
  polling: { name: 'polling' },
  'backing-off': { name: 'backing-off', leased: true, error },
  stopped: { name: 'stopped', leased: true, error },
};
const events: Record<FeedEvent['name'], FeedEvent> = {
  'lease-acquired': { name: 'lease-acquired' },
  'lease-lost': { name: 'lease-lost' },
  opened: { name: 'opened' },
  failed: { name: 'failed', error },
  halted: { name: 'halted', error },
  fenced: { name: 'fenced' },
  'wait-over': { name: 'wait-over' },
};

/** Complete by type: a new state or event does not compile until it is decided here. */
const expected: Record<FeedState['name'], Record<FeedEvent['name'], FeedState['name']>> = {
  standby: {
    'lease-acquired': 'starting',
    'lease-lost': 'standby',
    opened: 'standby',
    failed: 'backing-off',
    halted: 'stopped',
    fenced: 'standby',
    'wait-over': 'standby',
  },
  starting: {
    'lease-acquired': 'starting',
    'lease-lost': 'standby',
    opened: 'polling',
    failed: 'backing-off',
    halted: 'stopped',
    fenced: 'standby',
    'wait-over': 'starting',
  },
  polling: {
    'lease-acquired': 'polling',
    'lease-lost': 'standby',
    opened: 'polling',
    failed: 'backing-off',
    halted: 'stopped',
    fenced: 'standby',
    'wait-over': 'polling',
  },
  'backing-off': {
    'lease-acquired': 'backing-off',
    'lease-lost': 'standby',
    opened: 'backing-off',
    failed: 'backing-off',
    halted: 'backing-off',
    fenced: 'standby',
    'wait-over': 'starting',
  },
  stopped: {
    'lease-acquired': 'stopped',
    'lease-lost': 'standby',
    opened: 'stopped',
    failed: 'stopped',
    halted: 'stopped',
    fenced: 'standby',
    'wait-over': 'starting',
  },
};

describe('feed states', () => {
  for (const [state, transitions] of Object.entries(expected))
    for (const [event, next] of Object.entries(transitions))
      it(`${state}, ${event} → ${next}`, () => {
        const after = nextFeedState(states[state as FeedState['name']], events[event as FeedEvent['name']]);
        assert.equal(after.name, next);
      });

  it('without the lease, a wait ends in standby, not in work', () => {
    const failed = nextFeedState(states.standby, events.failed);
    assert.deepEqual(failed, { name: 'backing-off', leased: false, error });
    assert.deepEqual(nextFeedState(failed, events['wait-over']), { name: 'standby' });
    const halted = nextFeedState(states.standby, events.halted);
    assert.deepEqual(nextFeedState(halted, events['wait-over']), { name: 'standby' });
  });
});
