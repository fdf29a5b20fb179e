import { OperatorError, TransientError } from '../errors.ts';
import {
  feedRemedy,
  isSameCommit,
  parseFeedPosition,
  startOf,
  type FeedPosition,
} from '../flow/feed-position.ts';
import { stopNoteOf } from '../flow/stop-note.ts';
import type { Position } from '../ports/change-log.ts';
import type { DeltaSource, DeltaTable } from '../ports/delta-source.ts';
import type { SessionDeps } from './delta-feed-deps.ts';

/** What a load mends only if it began after it was noticed, wherever its version lies. */
export const FEED_STOPS: ReadonlySet<string> = new Set([
  'DELTA_TABLE_SHORTER',
  'DELTA_TABLE_RESTORED',
  'POSITION_UNREADABLE',
]);

/** What is mended by any load that has brought what is not to be had. */
const GONE: ReadonlySet<string> = new Set(['DELTA_VERSIONS_GONE', 'DELTA_SCHEMA_CHANGED']);

export interface FeedStart {
  readonly start: FeedPosition;
  /** It is not what was stored. */
  readonly moved: boolean;
}

/**
 * A load begins anew: also where the position is one of a table that was replaced since. Throws what the feed stopped
 * for until a load has begun since, or the table is again the one that was published.
 */
export async function startingPoint(
  { startAfter, mapping, source }: SessionDeps,
  stored: Position | null,
  table: DeltaTable,
): Promise<FeedStart> {
  const note = stopNoteOf(stored);
  if (note !== null) {
    const loaded = (await startAfter?.(table.id, note.since)) ?? null;
    if (loaded !== null) return { start: { ...startOf(table.id), version: loaded }, moved: true };
    const back = note.code === 'POSITION_UNREADABLE' ? null : parseFeedPosition(stored ?? {}, mapping.name);
    if (back !== null && back.tableId === table.id && (await holds(source, back)))
      return { start: back, moved: true };
    throw new OperatorError({ ...note, remedy: feedRemedy(note.code, mapping.name) });
  }
  const known = stored === null ? null : parseFeedPosition(stored, mapping.name);
  if (known?.tableId === table.id) return { start: known, moved: false };
  const loaded = (await startAfter?.(table.id)) ?? null;
  if (loaded !== null) return { start: { ...startOf(table.id), version: loaded }, moved: true };
  return { start: known ?? startOf(table.id), moved: false };
}

/** Versions that cannot be read were loaded as a whole meanwhile: the feed goes on behind them. */
export async function jumpToLoad(
  { startAfter, log, mapping }: SessionDeps,
  error: unknown,
  tableId: string,
  next: number,
): Promise<void> {
  if (!(error instanceof OperatorError) || !GONE.has(error.code)) return;
  const loaded = (await startAfter?.(tableId)) ?? null;
  if (loaded === null || loaded < next) return;
  await log.publish({ changes: [], rejected: [], position: { ...startOf(tableId), version: loaded } });
  throw new TransientError({
    code: 'FEED_BEHIND_LOAD',
    message: `Versions of the Delta table of ${mapping.name} cannot be read that a newer load has covered: the feed goes on behind it.`,
    cause: error,
  });
}

export function checkTable(table: DeltaTable, start: FeedPosition, name: string): void {
  if (table.id !== start.tableId)
    throw new OperatorError({
      code: 'DELTA_TABLE_REPLACED',
      message: `The Delta table of ${name} was replaced or created anew (its id was ${start.tableId}, now it is ${table.id}): its versions no longer continue what was published.`,
      remedy: `Load the table anew: \`deltaferry backfill ${name}\`.`,
    });
  if (!table.changeDataFeed)
    throw new OperatorError({
      code: 'DELTA_FEED_DISABLED',
      message: `The Delta table of ${name} does not record its changes.`,
      remedy: `Set delta.enableChangeDataFeed = true on it, then \`deltaferry backfill ${name}\`.`,
    });
}

/** Whether the table has the very commit that the position is at. Unknown is no. */
async function holds(source: DeltaSource, { version, stamp }: FeedPosition): Promise<boolean> {
  if (stamp === undefined) return false;
  const latest = (await source.commits(1))[0]?.version ?? -1;
  if (latest < version) return false;
  const commits = await source.commits(latest - version + 1);
  return commits.some((commit) => commit.version === version && isSameCommit(commit.stamp, stamp));
}
