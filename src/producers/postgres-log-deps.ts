import type { Micros } from '../change/change.ts';
import type { FeedState } from '../flow/feed-state.ts';
import type { ChangeLog } from '../ports/change-log.ts';
import type { Leadership } from '../ports/leadership.ts';
import type { LogFacts, PostgresLog, Snapshot } from '../ports/postgres-log.ts';
import type { FeedClock, Session } from './producer-life.ts';

export interface PostgresLogFeedOptions {
  /** From so many changes on a transaction is full. Pages are never split: it may exceed this by less than one. */
  readonly maxBatchChanges: number;
  /** Most bytes of log rows of one transaction, roughly; up to three such batches are in memory. */
  readonly maxBatchBytes: number;
  /** From one look at the database to the next while there is something new. */
  readonly pollMinMs: number;
  /** The same when nothing happens. */
  readonly pollMaxMs: number;
  /** How often the partitions are looked after, and a position that only lies in memory is written. */
  readonly upkeepMs: number;
  readonly backoffInitialMs: number;
  readonly backoffMaxMs: number;
  /** How often a stopped feed is tried again. */
  readonly stoppedRetryMs: number;
}

export const POSTGRES_LOG_DEFAULTS: PostgresLogFeedOptions = {
  maxBatchChanges: 10_000,
  maxBatchBytes: 8 * 1024 * 1024,
  pollMinMs: 5,
  pollMaxMs: 250,
  upkeepMs: 10_000,
  backoffInitialMs: 50,
  backoffMaxMs: 5_000,
  stoppedRetryMs: 30_000,
};

/** One transaction that became durable. */
export interface PublishedLog {
  readonly changes: number;
  readonly rejected: number;
  /** Event time of its last change, null where it holds none. */
  readonly ts: Micros | null;
}

export interface PostgresLogDeps {
  /** The table's name in the configuration. */
  readonly table: string;
  readonly source: PostgresLog;
  readonly log: ChangeLog;
  readonly leadership: Leadership;
  /** The snapshot with which the newest load from Postgres began, if that was after `since` and it is done. */
  readonly loadedTo?: ((since: string) => Promise<Snapshot | null>) | undefined;
  /** When the newest load from Postgres began; '' where there is none. */
  readonly newestLoad?: (() => Promise<string>) | undefined;
  readonly options?: Partial<PostgresLogFeedOptions>;
  readonly clock?: FeedClock;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  readonly onState?: (state: FeedState) => void;
  readonly onPublished?: (published: PublishedLog) => void;
  /** After the partitions were looked after. */
  readonly onPolled?: (facts: LogFacts) => void;
}

/** The same with the defaults filled in, for one session. */
export interface LogSessionDeps extends PostgresLogDeps, Session {
  readonly options: PostgresLogFeedOptions;
  readonly clock: FeedClock;
}
