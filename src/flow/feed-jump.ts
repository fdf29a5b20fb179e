import type { LoadPhase } from './load-state.ts';
import { stopNoteOf, withoutStopNote, withStopNote, type StopNote, type Stored } from './stop-note.ts';

/**
 * A feed that had stopped goes on behind a load as soon as that has chosen its version: what lies before it only the
 * load brings. Until the load is live the feed remembers where it stood.
 */
export interface FeedJump {
  /** What was stored before: the position, and what was remembered with it. */
  readonly from: Stored;
  /** What it had stopped for. `since`: when the load began, which is the load's name here; a later one ends the stop. */
  readonly stop: StopNote;
}

export interface FeedStanding {
  readonly position: Stored | null;
  readonly jump: FeedJump | null;
}

/** The load that a feed begins behind. */
export interface LoadStart {
  readonly version: number;
  /** When it began, in a form that sorts by time. */
  readonly began: string;
  /** The target has its rows; else it is under way. */
  readonly live: boolean;
}

/** Positions hold texts and numbers: what was stored before is one text in what is stored after. */
export function toStore({ position, jump }: FeedStanding): Stored {
  return { ...position, ...(jump === null ? {} : { before: JSON.stringify(standingAgain(jump)) }) };
}

export function standingOf(stored: Stored | null): FeedStanding {
  if (stored === null) return { position: null, jump: null };
  const { before, ...position } = stored;
  const former = typeof before === 'string' ? parsed(before) : null;
  const stop = stopNoteOf(former);
  return {
    position,
    jump: former === null || stop === null ? null : { from: withoutStopNote(former), stop },
  };
}

/** What is stored where the load does not come. */
export function standingAgain({ from, stop }: FeedJump): Stored {
  return withStopNote(from, stop);
}

/** What a feed that stopped at `from` remembers as it goes on behind the load; nothing where that is live. */
export function jumpBehind(
  { live, began }: LoadStart,
  from: Stored,
  { code, message }: Pick<StopNote, 'code' | 'message'>,
): FeedJump | null {
  return live ? null : { from: withoutStopNote(from), stop: { code, message, since: began } };
}

/** `awaited`: to be remembered; `brought`: nothing is missing; `given-up`: it never comes. */
export type JumpOutcome = 'awaited' | 'brought' | 'given-up';

const OUTCOMES: { readonly [P in LoadPhase]: JumpOutcome } = {
  snapshot: 'awaited',
  handover: 'awaited',
  live: 'brought',
  failed: 'given-up',
};

/** A load that is no longer known (null) does not come either. */
export function outcomeOf(phase: LoadPhase | null): JumpOutcome {
  return phase === null ? 'given-up' : OUTCOMES[phase];
}

function parsed(text: string): Stored | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? (value as Stored | null) : null;
  } catch {
    return null;
  }
}
