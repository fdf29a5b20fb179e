import { reactionTo } from '../error-policy.ts';
import { persist } from '../flow/persist.ts';
import type {
  Loader,
  LoadHandover,
  Loads,
  LoadTopics,
  PinnedVersion,
  Reconciled,
  SnapshotSource,
} from '../ports/load.ts';
import type { Leadership } from '../ports/leadership.ts';
import type { LoadPublisherOptions } from './load-publisher.ts';

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
