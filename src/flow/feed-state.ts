/**
 * Where a delta feed is in its life. `leased`: whether this process holds the table's lease; a stopped
 * feed keeps it, another process would stop at the same cause.
 */
export type FeedState =
  /** Another process, or nobody yet, has the lease. */
  | { readonly name: 'standby' }
  /** Opening the log and the table. */
  | { readonly name: 'starting' }
  | { readonly name: 'polling' }
  /** After a transient failure, until the next attempt. */
  | { readonly name: 'backing-off'; readonly leased: boolean; readonly error: unknown }
  /** A person has to mend something; tried again slowly. */
  | { readonly name: 'stopped'; readonly leased: boolean; readonly error: unknown };

export type FeedEvent =
  | { readonly name: 'lease-acquired' }
  | { readonly name: 'lease-lost' }
  /** Log and table answered: from here on the feed follows the table. */
  | { readonly name: 'opened' }
  | { readonly name: 'failed'; readonly error: unknown }
  | { readonly name: 'halted'; readonly error: unknown }
  /** Another process has opened the log. */
  | { readonly name: 'fenced' }
  | { readonly name: 'wait-over' };

type StateNamed<N extends FeedState['name']> = Extract<FeedState, { name: N }>;
type EventNamed<N extends FeedEvent['name']> = Extract<FeedEvent, { name: N }>;
type Transitions = {
  readonly [S in FeedState['name']]: {
    readonly [E in FeedEvent['name']]: (state: StateNamed<S>, event: EventNamed<E>) => FeedState;
  };
};

const STANDBY: FeedState = { name: 'standby' };
const STARTING: FeedState = { name: 'starting' };
const same = (state: FeedState): FeedState => state;
const toStandby = (): FeedState => STANDBY;
const backOff =
  (leased: boolean) =>
  (_: FeedState, { error }: EventNamed<'failed'>): FeedState => ({ name: 'backing-off', leased, error });
const stop =
  (leased: boolean) =>
  (_: FeedState, { error }: EventNamed<'halted'>): FeedState => ({ name: 'stopped', leased, error });
const resume = ({ leased }: { readonly leased: boolean }): FeedState => (leased ? STARTING : STANDBY);

/** Total: an event that cannot concern a state leaves it as it is. */
const TRANSITIONS: Transitions = {
  standby: {
    'lease-acquired': () => STARTING,
    'lease-lost': same,
    opened: same,
    failed: backOff(false),
    halted: stop(false),
    fenced: same,
    'wait-over': same,
  },
  starting: {
    'lease-acquired': same,
    'lease-lost': toStandby,
    opened: () => ({ name: 'polling' }),
    failed: backOff(true),
    halted: stop(true),
    fenced: toStandby,
    'wait-over': same,
  },
  polling: {
    'lease-acquired': same,
    'lease-lost': toStandby,
    opened: same,
    failed: backOff(true),
    halted: stop(true),
    fenced: toStandby,
    'wait-over': same,
  },
  'backing-off': {
    'lease-acquired': same,
    'lease-lost': toStandby,
    opened: same,
    failed: same,
    halted: same,
    fenced: toStandby,
    'wait-over': resume,
  },
  stopped: {
    'lease-acquired': same,
    'lease-lost': toStandby,
    opened: same,
    failed: same,
    halted: same,
    fenced: toStandby,
    'wait-over': resume,
  },
};

/** The state after an event; the same object where nothing changes. */
export function nextFeedState(state: FeedState, event: FeedEvent): FeedState {
  const transition = TRANSITIONS[state.name][event.name] as (state: FeedState, event: FeedEvent) => FeedState;
  return transition(state, event);
}
