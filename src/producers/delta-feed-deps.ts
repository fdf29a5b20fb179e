import type { Micros } from '../change/change.ts';
import type { TableMapping } from '../change/table.ts';
import type { LoadStart } from '../flow/feed-jump.ts';
import type { FeedState } from '../flow/feed-state.ts';
import type { LoadPhase } from '../flow/load-state.ts';
import type { ChangeLog } from '../ports/change-log.ts';
import type { DeltaSource } from '../ports/delta-source.ts';
import type { Leadership } from '../ports/leadership.ts';
import type { FeedClock, Session } from './producer-life.ts';

export interface DeltaFeedOptions {
  /** Most changes of one transaction. */
  readonly maxBatchChanges: number;
  /** Most bytes of rows of one transaction, roughly; up to three such batches are in memory. */
  readonly maxBatchBytes: number;
  /** Pause between two looks at the table after there was something new. */
  readonly pollMinMs: number;
  /** The same when nothing happens; half of it is part of the latency. */
  readonly pollMaxMs: number;
  /** The history is read at least this often, should a commit not show in the table's stamp. */
  readonly recheckMs: number;
  /**
   * For so long after a commit the history itself is asked for the next one: asking the table for its stamp is
   * cheap when nothing has happened, and dear (it counts its files anew) right after a commit.
   */
  readonly busyMs: number;
  /** Commits of the history asked for at a time; a longer backlog asks for as many as it has. */
  readonly historyLimit: number;
  /** Most versions that one statement reads. */
  readonly maxVersionsPerRead: number;
  readonly backoffInitialMs: number;
  readonly backoffMaxMs: number;
  /** How often a stopped feed is tried again. */
  readonly stoppedRetryMs: number;
}

export const DELTA_FEED_DEFAULTS: DeltaFeedOptions = {
  maxBatchChanges: 10_000,
  maxBatchBytes: 8 * 1024 * 1024,
  pollMinMs: 5,
  pollMaxMs: 200,
  recheckMs: 5_000,
  busyMs: 3_000,
  historyLimit: 100,
  maxVersionsPerRead: 100,
  backoffInitialMs: 50,
  backoffMaxMs: 5_000,
  stoppedRetryMs: 30_000,
};

/** One transaction that became durable. */
export interface Published {
  readonly changes: number;
  readonly rejected: number;
  /** Versions that it completed. */
  readonly versions: number;
  /** The newest version that is published as a whole. */
  readonly lastVersion: number;
  /** Event time of its last change, null where it holds none. */
  readonly ts: Micros | null;
}

export interface DeltaFeedDeps {
  readonly mapping: TableMapping;
  /** Origin id of the changes. */
  readonly origin: string;
  readonly source: DeltaSource;
  readonly log: ChangeLog;
  readonly leadership: Leadership;
  /**
   * The newest load of the Delta table of this id that was not given up, null where there is none: a feed
   * without a position begins behind its version. With `since`: of loads that began after that alone. Throws a TransientError
   * while the load has not chosen it yet.
   */
  readonly startAfter?: ((tableId: string, since?: string) => Promise<LoadStart | null>) | undefined;
  /** Where the load is that began then; null where none is known. Without it every load is taken to be under way. */
  readonly loadPhase?: ((began: string) => Promise<LoadPhase | null>) | undefined;
  /** When the newest load of the table began; '' where there is none. */
  readonly newestLoad?: (() => Promise<string>) | undefined;
  readonly options?: Partial<DeltaFeedOptions>;
  readonly clock?: FeedClock;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  readonly onState?: (state: FeedState) => void;
  readonly onPublished?: (published: Published) => void;
  readonly onPolled?: (polled: { readonly latestVersion: number }) => void;
}

/** The same with the defaults filled in, for one session. */
export interface SessionDeps extends DeltaFeedDeps, Session {
  readonly options: DeltaFeedOptions;
  readonly clock: FeedClock;
}
