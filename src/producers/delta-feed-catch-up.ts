import { OperatorError, TransientError } from '../errors.ts';
import { orAborted } from '../flow/abortable.ts';
import type { FeedBatch, FeedBatcher } from '../flow/feed-batch.ts';
import { feedRemedy, isSameCommit, type FeedPosition } from '../flow/feed-position.ts';
import { createPairing } from '../flow/pairing.ts';
import { splitRange, versionRanges } from '../flow/version-ranges.ts';
import { SchemaChangedError, type DeltaChangeRow, type DeltaCommit } from '../ports/delta-source.ts';
import type { SessionDeps } from './delta-feed-deps.ts';
import type { Publisher } from './publisher.ts';

export interface CatchUpDeps extends SessionDeps {
  /** Where the batcher begins. */
  readonly start: FeedPosition;
  readonly batcher: FeedBatcher;
  readonly publisher: Publisher<FeedBatch>;
  /** Throws where it is no longer the same table. */
  readonly look: () => Promise<void>;
}

/** Commits of the history asked for while the table is busy. */
const FEW_COMMITS = 10;

type Pages = AsyncIterable<readonly DeltaChangeRow[]>;

/**
 * Publishes everything from the batcher's next version to the newest; resolves with whether there was
 * anything. The last batch may still be on its way then. `stamped`: the table's stamp says that there is
 * a next version, so it is read while the history is asked; the answer decides whether the rows count.
 * `unseen`: nobody has looked at the table, the history has to tell whether it is still the same.
 */
export function createCatchUp(
  deps: CatchUpDeps,
): (signal: AbortSignal, found: 'stamped' | 'looked' | 'unseen') => Promise<boolean> {
  const { source, batcher, publisher, options, mapping, look } = deps;

  let newest: DeltaCommit | null = null;
  /** The last commit that is done with, where its time is known. */
  let passed: Pick<DeltaCommit, 'version' | 'stamp'> | null =
    deps.start.stamp === undefined ? null : { version: deps.start.version, stamp: deps.start.stamp };
  /** Times of the commits that the history told of. */
  let stamps: ReadonlyMap<number, string> = new Map();

  async function catchUp(signal: AbortSignal, found: 'stamped' | 'looked' | 'unseen'): Promise<boolean> {
    const next = batcher.next();
    const early = found === 'stamped' ? startReading(next, signal) : null;
    try {
      const limit = found === 'unseen' ? Math.min(FEW_COMMITS, options.historyLimit) : options.historyLimit;
      const commits = await history(next, limit, signal);
      if (found === 'unseen' && !continues(commits, newest)) await look();
      checkContinued(commits);
      newest = commits[0] ?? null;
      stamps = new Map(commits.map(({ version, stamp }) => [version, stamp]));
      const latest = commits[0]?.version ?? -1;
      deps.onPolled?.({ latestVersion: latest });
      if (latest < next) {
        checkNotShorter(latest, next);
        passed = newest;
        return false;
      }
      const own = new Set(commits.filter(({ mark }) => mark !== null).map(({ version }) => version));
      const isOwn = (version: number): boolean => own.has(version);
      const first = early === null || isOwn(next) ? null : await early.pages();
      if (first !== null) await readRange(next, next, signal, first);
      await readRanges(batcher.next(), latest, isOwn, signal);
      passed = newest;
    } finally {
      early?.stop();
    }
    await flush(signal);
    return true;
  }

  /** Newest first, back to the version `next` at least. */
  async function history(next: number, limit: number, signal: AbortSignal): Promise<readonly DeltaCommit[]> {
    const commits = await orAborted(source.commits(limit), signal);
    if (reaches(commits, passed?.version ?? next)) return commits;
    const behind = (commits[0]?.version ?? next) - next + 1;
    const all = await orAborted(source.commits(behind + options.historyLimit), signal);
    if (reaches(all, next)) return all;
    throw new OperatorError({
      code: 'DELTA_VERSIONS_GONE',
      message: `The history of the Delta table of ${mapping.name} begins at version ${all.at(-1)?.version}; version ${next} is the next to publish and is gone.`,
      remedy: `Load the table anew: \`deltaferry backfill ${mapping.name}\`, and keep the history longer (delta.logRetentionDuration).`,
    });
  }

  /** Where a restored copy has come as far as what was published, its commits of these numbers are others. */
  function checkContinued(commits: readonly DeltaCommit[]): void {
    if (passed === null) return;
    const { version, stamp } = passed;
    const found = commits.find((commit) => commit.version === version);
    if (found === undefined || isSameCommit(found.stamp, stamp)) return;
    throw new OperatorError({
      code: 'DELTA_TABLE_RESTORED',
      message: `Version ${version} of the Delta table of ${mapping.name} was published as committed at ${stamp}, and now it is one of ${found.stamp}: it was restored from a copy.`,
      remedy: feedRemedy('DELTA_TABLE_RESTORED', mapping.name),
    });
  }

  function checkNotShorter(latest: number, next: number): void {
    if (latest === next - 1) return;
    throw new OperatorError({
      code: 'DELTA_TABLE_SHORTER',
      message: `The Delta table of ${mapping.name} is at version ${latest}, but version ${next - 1} has been published: it was restored from a copy.`,
      remedy: feedRemedy('DELTA_TABLE_SHORTER', mapping.name),
    });
  }

  async function readRanges(
    from: number,
    to: number,
    isOwn: (version: number) => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    for (const range of versionRanges({ from, to, isOwn, longest: options.maxVersionsPerRead })) {
      // A backlog takes its time, and what is read must still be the table that was looked at.
      if (range.from > from) await look();
      if (range.own) batcher.complete(range.to);
      else await readRange(range.from, range.to, signal);
    }
  }

  async function readRange(from: number, to: number, signal: AbortSignal, pages?: Pages): Promise<void> {
    let begun = false;
    try {
      const pairing = createPairing(deps);
      for await (const page of pages ?? source.changes(from, to, signal)) {
        begun = true;
        for (const row of page) {
          const outcome = pairing.add(row);
          if (outcome !== null) batcher.add(outcome);
          if (batcher.isFull()) await flush(signal);
        }
      }
      const last = pairing.end();
      if (last !== null) batcher.add(last);
      batcher.complete(to);
    } catch (error) {
      if (!(error instanceof SchemaChangedError)) throw error;
      const parts = splitRange(from, to, error.version);
      if (parts === null) throw error;
      if (begun)
        throw new TransientError({
          code: 'DELTA_SCHEMA_CHANGED',
          message: `The schema of the Delta table of ${mapping.name} changed while versions ${from} to ${to} were read.`,
          cause: error,
        });
      for (const [partFrom, partTo] of parts) await readRange(partFrom, partTo, signal);
    }
  }

  async function flush(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const batch = batcher.take();
    if (batch !== null) await publisher.send({ ...batch, position: stamped(batch.position) });
  }

  function stamped(position: FeedPosition): FeedPosition {
    const stamp = position.stamp ?? stamps.get(position.version);
    return stamp === undefined ? position : { ...position, stamp };
  }

  /** Begins to read one version; `pages` is null where it could not be read this early after all. */
  function startReading(version: number, signal: AbortSignal): EarlyRead {
    const stopped = new AbortController();
    const until = AbortSignal.any([signal, stopped.signal]);
    const pages = source.changes(version, version, until);
    const rows = pages[Symbol.asyncIterator]();
    const first = rows.next().catch(() => null);
    return {
      async pages() {
        const page = await orAborted(first, signal);
        return page === null ? null : startingWith(page, rows);
      },
      stop() {
        stopped.abort();
        rows.return?.().catch(() => {});
      },
    };
  }

  return catchUp;
}

interface EarlyRead {
  pages(): Promise<Pages | null>;
  /** Ends the statement where it still runs. */
  stop(): void;
}

async function* startingWith<T>(first: IteratorResult<T>, rest: AsyncIterator<T>): AsyncGenerator<T> {
  for (let at = first; at.done !== true; at = await rest.next()) yield at.value;
}

/** Whether this is the history of the table that `newest` was the last commit of, and nobody has replaced it since. */
function continues(commits: readonly DeltaCommit[], newest: DeltaCommit | null): boolean {
  return (
    newest !== null &&
    commits.some(({ version, stamp }) => version === newest.version && stamp === newest.stamp) &&
    commits.every(
      ({ version, operation }) => version <= newest.version || !/CREATE|REPLACE|CLONE/i.test(operation),
    )
  );
}

function reaches(commits: readonly DeltaCommit[], version: number): boolean {
  const oldest = commits.at(-1)?.version;
  const latest = commits[0]?.version ?? -1;
  return latest < version || (oldest !== undefined && oldest <= version);
}
