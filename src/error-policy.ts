import { DeltaferryError, type ErrorKind } from './errors.ts';

/** What a loop does with a failure. */
export type Reaction = 'retry' | 'stop' | 'dead-letter' | 'drop' | 'exit';

/** The one place that decides what a kind means. */
const REACTIONS: Record<ErrorKind, Reaction> = {
  transient: 'retry',
  operator: 'stop',
  poison: 'dead-letter',
  fenced: 'drop',
  usage: 'exit',
  bug: 'stop',
};

const NEXT_STEPS: Record<ErrorKind, string> = {
  transient: 'Nothing to do: it is retried with backoff.',
  operator: 'Mend the cause named in the message; the stopped part then resumes by itself.',
  poison:
    'Look at it with `deltaferry dead-letters show`, then mend the row at its source: changed again, it comes as a new change.',
  fenced: 'Nothing to do: another replica has taken over.',
  usage: 'Correct the flag or the configuration field that the message names.',
  bug: 'Report it with the log lines around it; the stopped part is tried again by itself.',
};

/** An error that is not ours is treated as `bug`: adapters must translate what they know. */
export function kindOf(error: unknown): ErrorKind {
  return error instanceof DeltaferryError ? error.kind : 'bug';
}

export function reactionTo(error: unknown): Reaction {
  return REACTIONS[kindOf(error)];
}

/** The operator's next step: the error's own remedy, else the general one of its kind. */
export function remedyFor(error: unknown): string {
  return (error instanceof DeltaferryError ? error.remedy : undefined) ?? NEXT_STEPS[kindOf(error)];
}
