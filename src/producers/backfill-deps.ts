import { reactionTo } from '../error-policy.ts';
import { persist } from '../flow/persist.ts';
import type {
  CapturedWay,
  Load,
  Loader,
  LoadHandover,
  LoadNote,
  Loads,
  LoadTopics,
  OthersWay,
  PinnedVersion,
  Reconciled,
  SnapshotSource,
} from '../ports/load.ts';
import type { Leadership } from '../ports/leadership.ts';
import type { LoadFromTopic } from './load-from-topic.ts';
import type { LoadPublisherOptions } from './load-publisher.ts';

/** `new`: refused while one is under way; `resume`: goes on with it; `restart`: gives it up and begins anew; `give-up`: only the first half of that. */
export type BackfillMode = 'new' | 'resume' | 'restart' | 'give-up';

/** How far a load is, in rows; of earlier processes that carried it out, too. */
export interface BackfillProgress extends LoadNote {
  readonly load: string;
  readonly source: Load['source'];
  readonly way: Load['way'];
  /** Null until it is known. */
  readonly pinned: PinnedVersion | null;
  readonly published: number;
  readonly rejected: number;
  readonly applied: number;
  /** While merging: what is waited for. */
  readonly backlog: Backlog | null;
}

/** What people have changed in the captured table and Delta does not have yet. */
export interface Backlog {
  /** The role of `deltaferry run` that has to do it. */
  readonly role: 'postgres-log' | 'delta-merge';
  /** Log rows, or offsets of the changes topic, which may hold no change. */
  readonly behind: number;
  /** There are at least so many. */
  readonly atLeast: boolean;
}

export interface BackfillDeps extends Pick<
  LoadPublisherOptions,
  'mapping' | 'origin' | 'log' | 'name' | 'postgresId' | 'random'
> {
  readonly loads: Loads;
  readonly topics: LoadTopics;
  /** The way back to Delta of a target whose changes are captured; null where they are not. */
  readonly captured: CapturedWay | null;
  /** Of a load from Delta into a target that is not captured: what others have changed elsewhere. */
  readonly others?: OthersWay | undefined;
  readonly source: SnapshotSource;
  /** Of a load from Postgres: whether others have changed Delta up to a version, which Postgres has to have first. */
  readonly mustCatchUp?: (version: number) => Promise<boolean>;
  /** Of a load from the topic alone: what is there. */
  readonly fromTopic?: LoadFromTopic | undefined;
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

/** Does it until it succeeds or needs a person. */
export async function trying<T>(
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
