/**
 * Where a load is in its life:
 * `snapshot`: its rows are read and published; `handover`: all are on the topic, and go into the target;
 * `live`: the target has them, and live changes go on; `failed`: it was given up.
 */
export type LoadPhase = 'snapshot' | 'handover' | 'live' | 'failed';

export type LoadEvent =
  /** Every row is on the topic, and its end is noted. */
  | 'published'
  /** The target has every row. */
  | 'handed-over'
  /** A person gives it up, or begins another in its place. */
  | 'given-up';

/** Null: the event cannot happen in that phase. */
type Transitions = { readonly [P in LoadPhase]: { readonly [E in LoadEvent]: LoadPhase | null } };

const TRANSITIONS: Transitions = {
  snapshot: { published: 'handover', 'handed-over': null, 'given-up': 'failed' },
  handover: { published: null, 'handed-over': 'live', 'given-up': 'failed' },
  live: { published: null, 'handed-over': null, 'given-up': null },
  failed: { published: null, 'handed-over': null, 'given-up': null },
};

/** The phase after an event; null where the event cannot happen, and nothing may be done. */
export function nextLoadPhase(phase: LoadPhase, event: LoadEvent): LoadPhase | null {
  return TRANSITIONS[phase][event];
}

/** The phases from which an event leads to `phase`: what a compare-and-set has to find. */
export function phasesBefore(event: LoadEvent): readonly LoadPhase[] {
  return (Object.keys(TRANSITIONS) as LoadPhase[]).filter((phase) => nextLoadPhase(phase, event) !== null);
}

/** Whether live consumers of the table wait for the load. */
export function isUnderWay(phase: LoadPhase): boolean {
  return phase === 'snapshot' || phase === 'handover';
}
