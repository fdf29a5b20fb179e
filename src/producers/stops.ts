import { OperatorError } from '../errors.ts';
import { stopNoteOf, withStopNote } from '../flow/stop-note.ts';
import type { ChangeLog, Position } from '../ports/change-log.ts';

export interface StopDeps {
  readonly log: ChangeLog;
  /** When the newest load began that could end such a stop; '' where there is none. */
  readonly newestLoad?: (() => Promise<string>) | undefined;
}

/** Errors of these codes outlast what they were noticed by: a restored source soon is as far as the lost one was. */
export async function noteStop(
  { log, newestLoad }: StopDeps,
  codes: ReadonlySet<string>,
  stored: Position | null,
  error: unknown,
): Promise<void> {
  if (!(error instanceof OperatorError) || !codes.has(error.code) || stopNoteOf(stored) !== null) return;
  const { code, message } = error;
  const position = withStopNote(stored ?? {}, { code, message, since: (await newestLoad?.()) ?? '' });
  await log.publish({ changes: [], rejected: [], position });
}
