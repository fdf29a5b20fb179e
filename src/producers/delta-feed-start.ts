import { OperatorError, TransientError } from '../errors.ts';
import {
  jumpBehind,
  outcomeOf,
  standingAgain,
  toStore,
  type FeedJump,
  type FeedStanding,
  type JumpOutcome,
  type LoadStart,
} from '../flow/feed-jump.ts';
import {
  feedPositionIn,
  feedRemedy,
  hasPublished,
  isSameCommit,
  parseFeedPosition,
  startOf,
  type FeedPosition,
} from '../flow/feed-position.ts';
import { stopNoteOf, type StopNote } from '../flow/stop-note.ts';
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
  /** What is remembered until the load is live behind which the feed has gone on. */
  readonly jump: FeedJump | null;
}

/**
 * A load begins anew: also where the position is one of a table that was replaced since. Throws what the feed stopped
 * for until a load has begun since, or the table is again the one that was published.
 */
export async function startingPoint(
  deps: SessionDeps,
  standing: FeedStanding,
  table: DeltaTable,
): Promise<FeedStart> {
  const { position: stored, jump } = standing;
  const note = stopNoteOf(stored);
  if (note !== null) return await mended(deps, standing, note, table);
  const known = stored === null ? null : parseFeedPosition(stored, deps.mapping.name);
  if (jump !== null && known !== null) {
    const outcome = await outcomeNow(deps, jump);
    if (outcome === 'given-up') return await behindNewer(deps, jump, known, table);
    if (outcome === 'awaited') return { start: known, moved: false, jump };
  }
  if (known?.tableId === table.id) return { start: known, moved: false, jump: null };
  const load = (await deps.startAfter?.(table.id)) ?? null;
  const published = known !== null && hasPublished(known) ? known : null;
  if (load === null) return { start: published ?? startOf(table.id), moved: false, jump: null };
  const stop = published === null ? null : tableReplaced(table, published, deps.mapping.name);
  return behind(load, table, stop === null ? null : jumpBehind(load, toStore(standing), stop));
}

/** Throws a TransientError where the load was given up: the feed looks anew then where it begins. */
export async function stillAwaited(deps: SessionDeps, jump: FeedJump): Promise<FeedJump | null> {
  const outcome = await outcomeNow(deps, jump);
  if (outcome === 'given-up') throw loadGivenUp(deps.mapping.name);
  return outcome === 'awaited' ? jump : null;
}

/** Versions that cannot be read were loaded as a whole meanwhile: the feed goes on behind them. */
export async function jumpToLoad(
  { startAfter, log, mapping }: SessionDeps,
  error: unknown,
  tableId: string,
  next: number,
  standing: FeedStanding,
): Promise<void> {
  if (!(error instanceof OperatorError) || !GONE.has(error.code)) return;
  const load = (await startAfter?.(tableId)) ?? null;
  const stopped = toStore({ ...standing, position: standing.position ?? { ...startOf(tableId) } });
  if (load === null || load.version < next) {
    // That it has stopped is known when a load comes.
    if (standing.position === null) await log.publish({ changes: [], rejected: [], position: stopped });
    return;
  }
  const position = { ...startOf(tableId), version: load.version };
  const jump = jumpBehind(load, stopped, error);
  await log.publish({ changes: [], rejected: [], position: toStore({ position, jump }) });
  throw new TransientError({
    code: 'FEED_BEHIND_LOAD',
    message: `Versions of the Delta table of ${mapping.name} cannot be read that a newer load has covered: the feed goes on behind it.`,
    cause: error,
  });
}

export function checkTable(table: DeltaTable, start: FeedPosition, name: string): void {
  if (table.id !== start.tableId) throw tableReplaced(table, start, name);
  if (!table.changeDataFeed)
    throw new OperatorError({
      code: 'DELTA_FEED_DISABLED',
      message: `The Delta table of ${name} does not record its changes.`,
      remedy: `Set delta.enableChangeDataFeed = true on it, then \`deltaferry backfill ${name}\`.`,
    });
}

/** Throws what the feed has stopped for where nothing mends it. */
async function mended(
  { startAfter, mapping, source }: SessionDeps,
  standing: FeedStanding,
  note: StopNote,
  table: DeltaTable,
): Promise<FeedStart> {
  const load = (await startAfter?.(table.id, note.since)) ?? null;
  if (load !== null) return behind(load, table, jumpBehind(load, toStore(standing), note));
  const back = GONE.has(note.code) ? null : feedPositionIn(standing.position ?? {});
  if (back !== null && back.tableId === table.id && (await holds(source, back)))
    return { start: back, moved: true, jump: standing.jump };
  throw new OperatorError({ ...note, remedy: feedRemedy(note.code, mapping.name) });
}

/** The load was given up behind which the feed went on. Without a newer one it stands again where it stood. */
async function behindNewer(
  { startAfter, log, mapping }: SessionDeps,
  { from, stop }: FeedJump,
  known: FeedPosition,
  table: DeltaTable,
): Promise<FeedStart> {
  const load = (await startAfter?.(table.id, stop.since)) ?? null;
  if (load === null) {
    await log.publish({ changes: [], rejected: [], position: standingAgain({ from, stop }) });
    throw loadGivenUp(mapping.name);
  }
  const jump = jumpBehind(load, from, stop);
  // It may have chosen its version while the feed went on: nothing is published twice.
  if (known.tableId === table.id && known.version >= load.version) return { start: known, moved: true, jump };
  return behind(load, table, jump);
}

function behind({ version }: LoadStart, { id }: DeltaTable, jump: FeedJump | null): FeedStart {
  return { start: { ...startOf(id), version }, moved: true, jump };
}

async function outcomeNow({ loadPhase }: SessionDeps, { stop }: FeedJump): Promise<JumpOutcome> {
  return loadPhase === undefined ? 'awaited' : outcomeOf(await loadPhase(stop.since));
}

function loadGivenUp(name: string): TransientError {
  return new TransientError({
    code: 'FEED_LOAD_GIVEN_UP',
    message: `The load of ${name} was given up behind which its feed went on: what was to come with it is missing again.`,
  });
}

function tableReplaced(table: DeltaTable, { tableId }: FeedPosition, name: string): OperatorError {
  return new OperatorError({
    code: 'DELTA_TABLE_REPLACED',
    message: `The Delta table of ${name} was replaced or created anew (its id was ${tableId}, now it is ${table.id}): its versions no longer continue what was published.`,
    remedy: `Load the table anew: \`deltaferry backfill ${name}\`.`,
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
