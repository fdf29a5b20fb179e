import { reactionTo } from '../error-policy.ts';
import { describeError } from '../errors.ts';
import { isUnderWay } from '../flow/load-state.ts';
import { persist } from '../flow/persist.ts';
import type { Load, NewLoad, PinnedLoad, Reconciled } from '../ports/load.ts';
import type { Lease } from '../ports/leadership.ts';
import {
  trying,
  type BackfillDeps,
  type BackfillMode,
  type BackfillProgress,
  type BackfillResult,
} from './backfill-deps.ts';
import { caughtUp, liveOffsetsNow, mergedByNow } from './load-catch-up.ts';
import type { LoadFromTopic } from './load-from-topic.ts';
import { claimTopic, explained, noteOver } from './load-claim.ts';
import { refuseCrossed } from './load-others.ts';
import { alreadyBegun, alreadyRunning, nothingToResume } from './load-refusals.ts';
import { publishAndLoad, runLoader } from './publish-and-load.ts';

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
  const own: Own = { id: null };
  return await persist(
    () => attempt(deps, own.id === null ? mode : 'resume', own, signal),
    {
      // A lease or a producer's epoch is also lost where a server was restarted: whoever gets the lease goes on.
      mayPass: (error) => own.id !== null && ['retry', 'drop'].includes(reactionTo(error)),
      onRetry: deps.onRetry,
      random: deps.random ?? Math.random,
      initialMs: 500,
    },
    signal,
  );
}

/** The load that this process has begun or gone on with. */
interface Own {
  id: string | null;
}

const NOTHING: BackfillResult = { load: '', rows: 0, rejected: 0, reconciled: null };

/** From getting the lease to losing it. */
async function attempt(
  deps: BackfillDeps,
  mode: BackfillMode,
  own: Own,
  signal: AbortSignal,
): Promise<BackfillResult> {
  const lease = await leaseOf(deps, signal);
  const work = AbortSignal.any([signal, lease.lost]);
  try {
    const load = await chooseLoad(deps, mode, own, work);
    if (load === null) return NOTHING;
    own.id = load.id;
    try {
      return await carryOut(deps, load, work);
    } catch (error) {
      if (!work.aborted) await deps.loads.noteError(load.id, describeError(error)).catch(() => {});
      throw lease.lost.aborted ? lease.lost.reason : error;
    }
  } finally {
    await deps.log.close().catch(() => {});
    await lease.release().catch(() => {});
  }
}

/** The load to carry out; null where one was given up and that is all. */
async function chooseLoad(
  deps: BackfillDeps,
  mode: BackfillMode,
  own: Own,
  signal: AbortSignal,
): Promise<Load | null> {
  const { topics, source, loads, name } = deps;
  const newest = await trying(deps, signal, () => loads.newest());
  const unfinished = newest !== null && isUnderWay(newest.phase) ? newest : null;
  if (mode === 'new' && unfinished !== null) throw alreadyBegun(unfinished);
  if (mode === 'resume') {
    // Its last transaction was done, and only the answer was lost.
    if (newest?.phase === 'live' && newest.id === own.id) return newest;
    if (unfinished === null) throw nothingToResume(name, newest);
    return unfinished;
  }
  if (mode === 'give-up' && unfinished === null) throw nothingToResume(name, newest);
  if (unfinished !== null) {
    await trying(deps, signal, () => loads.giveUp(unfinished.id));
    if (unfinished.source !== 'topic') await source.tidy(unfinished.id).catch(deps.onRetry);
    // Else other targets would have to be told to take its place.
    await noteOver(deps, unfinished.id).catch(deps.onRetry);
  }
  if (mode === 'give-up') return null;
  if (deps.fromTopic !== undefined) return await beginFromTopic(deps, deps.fromTopic, signal);
  await trying(deps, signal, () => topics.prepare());
  const id = deps.newId();
  // Fences whoever still publishes for an older load: what lies before these ends is not ours.
  await claimTopic(deps, id, mode, signal);
  const startOffsets = await trying(deps, signal, () => topics.ends());
  const changesLow = await trying(deps, signal, () => topics.changesLow());
  return await begun(deps, { id, startOffsets, changesLow }, signal);
}

/** It has begun once, also where only the answer was lost: it holds the table's consumers from then on. */
async function begun(
  deps: Pick<BackfillDeps, 'loads' | 'onRetry' | 'random'>,
  order: NewLoad,
  signal: AbortSignal,
): Promise<Load> {
  return await trying(deps, signal, async () => {
    try {
      return await deps.loads.begin(order);
    } catch (error) {
      const newest = await deps.loads.newest().catch(() => null);
      if (newest?.id === order.id) return newest;
      throw error;
    }
  });
}

/** Whoever publishes loads is not fenced: this one publishes nothing. */
async function beginFromTopic(
  deps: BackfillDeps,
  fromTopic: LoadFromTopic,
  signal: AbortSignal,
): Promise<Load> {
  const copy = await trying(deps, signal, () => fromTopic.find(signal));
  const changesLow = await trying(deps, signal, () => deps.topics.changesLow());
  return await begun(deps, { id: deps.newId(), startOffsets: copy.startOffsets, changesLow, copy }, signal);
}

async function carryOut(deps: BackfillDeps, begun: Load, signal: AbortSignal): Promise<BackfillResult> {
  const { loads, source } = deps;
  if (begun.error !== null && isUnderWay(begun.phase))
    await trying(deps, signal, () => loads.noteError(begun.id, null));
  let progress: BackfillProgress = {
    load: begun.id,
    source: begun.source,
    way: begun.way,
    stage: begun.pinned === null ? 'pinning' : 'loading',
    pinned: begun.pinned,
    handoverSeconds: null,
    read: begun.publishedRows + begun.rejectedRows,
    published: begun.publishedRows,
    rejected: begun.rejectedRows,
    applied: begun.appliedRows,
    compared: 0,
    heldUp: 0,
    backlog: null,
  };
  const tell = (news: Partial<BackfillProgress>): void => {
    progress = { ...progress, ...news };
    deps.onProgress(progress);
  };
  tell({});
  let load = begun;
  if (load.phase === 'snapshot') {
    if (load.pinned === null) load = await merged(deps, load, tell, signal);
    const chosen = isPinned(load) ? load : await pin(deps, load, signal);
    const settled = (): Promise<void> => othersSettled(deps, chosen, tell, signal);
    const pieces = await piecesOf(deps, chosen, settled, signal);
    tell({ pinned: chosen.pinned, stage: 'loading' });
    await publishAndLoad(deps, chosen, pieces, () => progress, tell, signal);
  } else if (load.phase === 'handover') {
    tell({ stage: 'loading' });
    await runLoader(deps, load, (applied) => tell({ applied }), signal);
  }
  load = (await trying(deps, signal, () => loads.newest())) ?? load;
  let reconciled: Reconciled | null = null;
  if (load.phase !== 'live') {
    // Others may publish from here on: what this load needs is beside its table.
    if (load.source !== 'topic') await trying(deps, signal, () => noteOver(deps, begun.id));
    reconciled = await handOver(deps, load, tell, signal).catch(async (error: unknown) => {
      throw await explained(deps, begun, error);
    });
  }
  tell({ stage: 'done', applied: load.publishedRows });
  if (load.source !== 'topic') await source.tidy(load.id).catch(deps.onRetry);
  return { load: load.id, rows: load.publishedRows, rejected: load.rejectedRows, reconciled };
}

/** What people have changed in a captured target is in the version that is chosen after this. */
async function merged(
  { captured, ...deps }: BackfillDeps,
  load: Load,
  tell: (news: Partial<BackfillProgress>) => void,
  signal: AbortSignal,
): Promise<Load> {
  if (!load.captured || load.source !== 'delta' || captured === null) return load;
  const logPosition = await mergedByNow(
    { ...deps, captured },
    load.id,
    (backlog) => tell({ stage: 'merging', backlog }),
    signal,
  );
  tell({ stage: 'pinning', backlog: null });
  return { ...load, logPosition };
}

/** What others have changed in Delta up to the version is in Postgres when that is read. */
async function othersSettled(
  deps: BackfillDeps,
  { source, pinned }: PinnedLoad,
  tell: (news: Partial<BackfillProgress>) => void,
  signal: AbortSignal,
): Promise<void> {
  if (
    source === 'postgres' &&
    (await trying(deps, signal, async () => await deps.mustCatchUp?.(pinned.version)))
  ) {
    tell({ pinned, stage: 'catching up' });
    await caughtUp(deps, pinned, signal);
  }
  tell({ pinned, stage: 'exporting' });
}

async function handOver(
  deps: BackfillDeps,
  load: Load,
  tell: (news: Partial<BackfillProgress>) => void,
  signal: AbortSignal,
): Promise<Reconciled | null> {
  const { handover } = deps;
  if (load.way === 'reconcile' && load.source === 'delta' && load.pinned !== null) {
    tell({ stage: 'catching up' });
    await caughtUp(deps, load.pinned, signal);
  }
  tell({ stage: 'handing over', way: load.way });
  if (load.source === 'topic')
    await trying(deps, signal, async () => await deps.fromTopic?.check(load.recordsOf, signal));
  // What was published since counts as well.
  await refuseCrossed(deps, load, signal);
  if (load.way === 'reconcile')
    return await trying(deps, signal, () =>
      handover.reconcile(load, (compared, heldUp) => tell({ compared, heldUp }), signal),
    );
  await trying(deps, signal, () => handover.fill(load));
  return null;
}

async function pin(
  { loads, source, topics, ...deps }: BackfillDeps,
  load: Load,
  signal: AbortSignal,
): Promise<PinnedLoad> {
  // Before the version is chosen: what comes after it cannot be on the topic yet.
  const liveOffsets = await trying(deps, signal, () => liveOffsetsNow(deps, load, topics));
  const pinned = await trying(deps, signal, () => source.pin());
  const chosen = { ...load, pinned, liveOffsets };
  await refuseCrossed(deps, chosen, signal);
  await trying(deps, signal, () => loads.pinned(load.id, pinned, liveOffsets));
  return chosen;
}

async function piecesOf(
  { loads, source, ...deps }: BackfillDeps,
  { id, pinned }: PinnedLoad,
  onExport: () => Promise<void>,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const known = await trying(deps, signal, () => loads.pieces(id));
  if (known.length > 0) return known;
  await onExport();
  const made = await trying(deps, signal, () => source.pieces(id, pinned, signal));
  await trying(deps, signal, () => loads.notePieces(id, made));
  return made;
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

const isPinned = (load: Load): load is PinnedLoad => load.pinned !== null;
