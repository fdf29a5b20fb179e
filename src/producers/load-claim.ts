import { reactionTo } from '../error-policy.ts';
import { DeltaferryError } from '../errors.ts';
import { loadOnTopic, positionWhenOver, progressPosition } from '../flow/load-manifest.ts';
import { persist } from '../flow/persist.ts';
import type { ChangeLog, Position } from '../ports/change-log.ts';
import type { Load, LoadTopics } from '../ports/load.ts';
import { ofOtherTarget, replaced } from './load-refusals.ts';

/** What loads of one table have in common, whatever target they fill: who published last says whose turn it is. */
export interface SharedTopic {
  readonly name: string;
  readonly log: ChangeLog;
  readonly topics: Pick<LoadTopics, 'newestLoad'>;
  /** The id of the Postgres on either side: the target, to others. */
  readonly postgresId: string;
}

const NOTHING = { parts: 0, at: null, rows: 0, rejected: 0 };

interface Patience {
  readonly onRetry: (error: unknown) => void;
  readonly random?: (() => number) | undefined;
}

/**
 * Announces the load, with its target, before it has any record. Throws an OperatorError where another target's
 * is unfinished, but for a `restart`, which takes its place.
 */
export async function claimTopic(
  shared: SharedTopic & Patience,
  load: string,
  mode: 'new' | 'restart',
  signal: AbortSignal,
): Promise<void> {
  const { log, topics, name, postgresId } = shared;

  function check(stored: Position | null): void {
    const newest = loadOnTopic(stored);
    if (mode === 'restart' || newest === null || !newest.isNeeded) return;
    // What is unfinished of our own target is known there.
    if (newest.postgresId !== postgresId) throw ofOtherTarget(name, newest);
  }

  await persist(
    async () => {
      // Before the log is opened, which would fence a load that is running.
      check(await topics.newestLoad());
      // That may have been out of date; nobody gets between this and the announcement.
      check(await log.open());
      const position = progressPosition({ load, postgresId }, NOTHING);
      await log.publish({ changes: [], rejected: [], position });
    },
    {
      // Whoever was fenced by us tries once more, fences us, and sees the announcement or is named by us.
      mayPass: (error) => ['retry', 'drop'].includes(reactionTo(error)),
      onRetry: shared.onRetry,
      random: shared.random ?? Math.random,
    },
    signal,
  );
}

/**
 * Opens the log for a load that was announced. Throws an OperatorError where it is no longer the newest: its records
 * are being replaced, and published once more they would replace those of the other.
 */
export async function openedFor({ log, name }: SharedTopic, load: string): Promise<Position> {
  const stored = await log.open();
  if (stored?.['load'] === load) return stored;
  throw replaced(name, load, loadOnTopic(stored));
}

/** The target has read all records of the load, or has given it up: other targets may begin. */
export async function noteOver(shared: SharedTopic, load: string): Promise<void> {
  const { log, topics } = shared;
  // Nothing to note, and nobody to be fenced.
  if ((await topics.newestLoad())?.['load'] !== load) return;
  const stored = await log.open();
  if (stored?.['load'] !== load || stored['needed'] === 0) return;
  await log.publish({ changes: [], rejected: [], position: positionWhenOver(stored) });
}

/** Records that are missing may have been replaced by those of a load that has taken the place of this one. */
export async function explained(
  { topics, name }: SharedTopic,
  { id, source }: Load,
  error: unknown,
): Promise<unknown> {
  if (source === 'topic' || !(error instanceof DeltaferryError) || error.code !== 'LOAD_INCOMPLETE')
    return error;
  const newest = loadOnTopic(await topics.newestLoad().catch(() => null));
  return newest === null || newest.load === id ? error : replaced(name, id, newest);
}
