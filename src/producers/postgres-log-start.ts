import { OperatorError } from '../errors.ts';
import { LOG_START, logRemedy, parseLogPosition, type LogPosition } from '../flow/log-position.ts';
import { stopNoteOf } from '../flow/stop-note.ts';
import type { Position } from '../ports/change-log.ts';
import type { LogSessionDeps } from './postgres-log-deps.ts';

/** What only a load mends that began after it was noticed. */
export const LOG_STOPS: ReadonlySet<string> = new Set(['POSTGRES_RESTORED', 'POSITION_UNREADABLE']);

export interface LogStart {
  readonly start: LogPosition;
  /** A load has brought everything up to here. */
  readonly loaded: boolean;
}

/** Throws what the poller stopped for until a load that began since is done. */
export async function startingPoint(
  { table, loadedTo }: LogSessionDeps,
  stored: Position | null,
): Promise<LogStart> {
  const note = stopNoteOf(stored);
  if (note !== null) {
    const acknowledged = (await loadedTo?.(note.since)) ?? null;
    if (acknowledged === null) throw new OperatorError({ ...note, remedy: logRemedy(table) });
    return { start: { ...LOG_START, acknowledged }, loaded: true };
  }
  return { start: stored === null ? LOG_START : parseLogPosition(stored, table), loaded: false };
}
