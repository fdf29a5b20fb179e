import { reactionTo } from '../error-policy.ts';
import { describeError } from '../errors.ts';
import { Bell } from '../flow/bell.ts';
import { isUnderWay } from '../flow/load-state.ts';
import { persist } from '../flow/persist.ts';
import type {
  Load,
  Loader,
  LoadHandover,
  Loads,
  LoadTopics,
  PinnedVersion,
  PublishedSoFar,
  Reconciled,
  SnapshotSource,
} from '../ports/load.ts';
import type { Leadership, Lease } from '../ports/leadership.ts';
import { caughtUp } from './load-catch-up.ts';
import { alreadyBegun, alreadyRunning, notAllRead, nothingToResume } from './load-refusals.ts';
import { publishLoad, type LoadPublisherOptions } from './load-publisher.ts';

/** `new`: refused while one is under way; `resume`: goes on with it; `restart`: gives it up and begins anew; `give-up`: only the first half of that. */
export type BackfillMode = 'new' | 'resume' | 'restart' | 'give-up';

/** How far a load is, in rows. */
export interface BackfillProgress {
  readonly load: string;
  readonly stage: 'pinning' | 'exporting' | 'loading' | 'catching up' | 'handing over' | 'done';
  /** Null until it is known. */
  readonly pinned: PinnedVersion | null;
  /** Read by this process. */
  readonly read: number;
  readonly published: number;
  readonly rejected: number;
  readonly applied: number;
  /** Rows that were compared with those of the table, where it held any. */
  readonly compared: number;
}

export interface BackfillDeps extends Pick<LoadPublisherOptions, 'mapping' | 'origin' | 'log' | 'random'> {
  readonly name: string;
  readonly loads: Loads;
  readonly topics: LoadTopics;
  readonly source: SnapshotSource;
  readonly loader: Loader;
  readonly handover: LoadHandover;
  readonly leadership: Leadership;
  /** An id that no other load has. */
  readonly newId: () => string;
  readonly onProgress: (progress: BackfillProgress) => void;
  /** A failure that is tried again. */
  readonly onRetry: (error: unknown) => void;
  /** Rows that may be on the topic and not in the table yet; default 1,000,000. */
  readonly mostAhead?: number | undefined;
  /** How long to wait for a process that was killed to lose its lease, milliseconds; default 3,000. */
  readonly leaseMs?: number | undefined;
}

export interface BackfillResult {
  readonly load: string;
  readonly rows: number;
  readonly rejected: number;
  /** What became of a table that held rows; null where it was empty. */
  readonly reconciled: Reconciled | null;
}

const MOST_AHEAD = 1_000_000;
const LEASE_MS = 3_000;

/**
 * Loads the table from its source, or goes on with a load, until the target has every row and live changes go
 * on. What may pass is tried again for as long as it takes; throws what a person has to mend, after noting it.
 * Killed at any point it can be resumed.
 */
export async function runBackfill(
  deps: BackfillDeps,
  mode: BackfillMode,
  signal: AbortSignal,
): Promise<BackfillResult> {
  const { loads, name } = deps;
  const lease = await leaseOf(deps, signal);
  const work = AbortSignal.any([signal, lease.lost]);
  try {
    const load = await chooseLoad(deps, mode, work);
    if (load === null) return { load: '', rows: 0, rejected: 0, reconciled: null };
    try {
      return await carryOut(deps, load, work);
    } catch (error) {
      if (!work.aborted) await loads.noteError(load.id, describeError(error)).catch(() => {});
      throw lease.lost.aborted ? lease.lost.reason : error;
    }
  } finally {
    await deps.log.close().catch(() => {});
    await lease.release().catch(() => {});
  }

  async function chooseLoad(
    { topics, log, source }: BackfillDeps,
    mode: BackfillMode,
    signal: AbortSignal,
  ): Promise<Load | null> {
    const newest = await trying(deps, signal, () => loads.newest());
    const unfinished = newest !== null && isUnderWay(newest.phase) ? newest : null;
    if (mode === 'new' && unfinished !== null) throw alreadyBegun(unfinished);
    if (mode === 'resume') {
      if (unfinished === null) throw nothingToResume(name, newest);
      return unfinished;
    }
    if (mode === 'give-up' && unfinished === null) throw nothingToResume(name, newest);
    if (unfinished !== null) {
      await trying(deps, signal, () => loads.giveUp(unfinished.id));
      await source.tidy(unfinished.id).catch(deps.onRetry);
    }
    if (mode === 'give-up') return null;
    await trying(deps, signal, () => topics.prepare());
    // Fences whoever still publishes for an older load: what lies before these ends is not ours.
    await trying(deps, signal, () => log.open());
    const startOffsets = await trying(deps, signal, () => topics.ends());
    const changesLow = await trying(deps, signal, () => topics.changesLow());
    return await loads.begin({ id: deps.newId(), startOffsets, changesLow });
  }
}

async function carryOut(deps: BackfillDeps, begun: Load, signal: AbortSignal): Promise<BackfillResult> {
  const { loads, source, handover } = deps;
  let progress: BackfillProgress = {
    load: begun.id,
    stage: 'pinning',
    pinned: begun.pinned,
    read: 0,
    published: begun.publishedRows,
    rejected: begun.rejectedRows,
    applied: begun.appliedRows,
    compared: 0,
  };
  const tell = (news: Partial<BackfillProgress>): void => {
    progress = { ...progress, ...news };
    deps.onProgress(progress);
  };
  tell({});
  let load = begun;
  if (load.phase === 'snapshot') {
    const pinned = load.pinned ?? (await pin(deps, load, signal));
    tell({ pinned, stage: 'exporting' });
    const pieces = await piecesOf(deps, load.id, pinned, signal);
    tell({ stage: 'loading' });
    await publishAndLoad(deps, { ...load, pinned }, pieces, () => progress, tell, signal);
  } else {
    tell({ stage: 'loading' });
    await deps.loader.run(load, (applied) => tell({ applied }), signal);
  }
  load = (await trying(deps, signal, () => loads.newest())) ?? load;
  let reconciled: Reconciled | null = null;
  if (load.way === 'reconcile') {
    tell({ stage: 'catching up' });
    if (load.pinned !== null) await caughtUp(deps, load.pinned, signal);
  }
  tell({ stage: 'handing over' });
  if (load.way === 'fill') await trying(deps, signal, () => handover.fill(load));
  else
    reconciled = await trying(deps, signal, () =>
      handover.reconcile(load, (compared) => tell({ compared }), signal),
    );
  tell({ stage: 'done', applied: load.publishedRows });
  await source.tidy(load.id).catch(deps.onRetry);
  return { load: load.id, rows: load.publishedRows, rejected: load.rejectedRows, reconciled };
}

async function pin(
  { loads, source, ...deps }: BackfillDeps,
  load: Load,
  signal: AbortSignal,
): Promise<PinnedVersion> {
  const pinned = await trying(deps, signal, () => source.pin());
  await trying(deps, signal, () => loads.pinned(load.id, pinned));
  return pinned;
}

async function piecesOf(
  { loads, source, ...deps }: BackfillDeps,
  load: string,
  pinned: PinnedVersion,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const known = await trying(deps, signal, () => loads.pieces(load));
  if (known.length > 0) return known;
  const made = await trying(deps, signal, () => source.pieces(load, pinned, signal));
  await trying(deps, signal, () => loads.notePieces(load, made));
  return made;
}

/** Both at once; the failure of one ends the other. */
async function publishAndLoad(
  deps: BackfillDeps,
  load: Load & { readonly pinned: PinnedVersion },
  pieces: readonly string[],
  progress: () => BackfillProgress,
  tell: (news: Partial<BackfillProgress>) => void,
  signal: AbortSignal,
): Promise<void> {
  const { loads, topics, loader } = deps;
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const bell = new Bell();
  const published = noting<PublishedSoFar>((so) => loads.acknowledge(load.id, so));
  const applied = noting<number>((rows) => loads.noteApplied(load.id, rows));

  async function publish(): Promise<void> {
    const all = await publishLoad(
      {
        ...deps,
        load: load.id,
        pinned: load.pinned,
        pieces,
        async room({ rows }, signal) {
          for (;;) {
            const { rings } = bell;
            if (signal.aborted || rows - progress().applied <= (deps.mostAhead ?? MOST_AHEAD)) return;
            await bell.rung(rings);
          }
        },
        onRead: (rows) => tell({ read: progress().read + rows }),
        onPublished(so) {
          tell({ published: so.rows, rejected: so.rejected });
          published.note(so);
        },
      },
      both,
    );
    if (all.rows + all.rejected !== load.pinned.rows) throw notAllRead(load, all);
    await published.end();
    await trying(deps, both, () => loads.acknowledge(load.id, all));
    const ends = await trying(deps, both, () => topics.ends());
    await trying(deps, both, () => loads.published(load.id, ends));
  }

  const ringing = (): void => bell.ring();
  both.addEventListener('abort', ringing);
  const parts = [
    publish(),
    loader.run(
      load,
      (rows) => {
        tell({ applied: rows });
        applied.note(rows);
        bell.ring();
      },
      both,
    ),
  ].map((part) =>
    part.catch((error: unknown) => {
      failed.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(parts);
  await Promise.all([published.end(), applied.end()]);
  both.removeEventListener('abort', ringing);
  if (both.aborted) throw both.reason;
}

/** Notes how far something is, the newest only and one at a time: for people to look at. */
function noting<T>(write: (newest: T) => Promise<void>): { note(value: T): void; end(): Promise<void> } {
  let newest: { readonly value: T } | null = null;
  let running: Promise<void> | null = null;
  async function run(): Promise<void> {
    while (newest !== null) {
      const { value } = newest;
      newest = null;
      await write(value).catch(() => {});
    }
    running = null;
  }
  return {
    note(value) {
      newest = { value };
      running ??= run();
    },
    end: () => running ?? Promise.resolve(),
  };
}

async function trying<T>(
  deps: Pick<BackfillDeps, 'onRetry' | 'random'>,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  return await persist(
    work,
    {
      mayPass: (error) => reactionTo(error) === 'retry',
      onRetry: deps.onRetry,
      random: deps.random ?? Math.random,
    },
    signal,
  );
}

async function leaseOf(deps: BackfillDeps, signal: AbortSignal): Promise<Lease> {
  const patience = AbortSignal.timeout(deps.leaseMs ?? LEASE_MS);
  try {
    return await deps.leadership.acquire(`backfill/${deps.name}`, AbortSignal.any([signal, patience]));
  } catch (error) {
    if (signal.aborted || !patience.aborted) throw error;
    throw alreadyRunning(deps.name, await deps.loads.newest());
  }
}
