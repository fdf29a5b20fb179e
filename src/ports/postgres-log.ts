import type { Change } from '../change/change.ts';
import type { RejectedChange } from './change-log.ts';

/** A `pg_snapshot` as text (`xmin:xmax:xip,…`): which transactions count as done. */
export type Snapshot = string;

/**
 * A number that was committed in the database, with the id of the database system, as text: a database that has the
 * mark holds everything that was committed before it.
 */
export type LogMark = string;

/** Rows that are visible in `to` and were not in `from`. */
export interface LogWindow {
  readonly from: Snapshot;
  readonly to: Snapshot;
  /** Net changes whose last `change_id` is not greater have been published already. */
  readonly after: bigint;
}

export interface LogPage {
  /** Net changes per transaction and key, in the order of their last `change_id`. */
  readonly changes: readonly Change[];
  readonly rejected: readonly RejectedChange[];
  /** The last `change_id` of the page: where to go on from. */
  readonly last: bigint;
  /** Size of the rows, roughly. */
  readonly bytes: number;
}

/** What is kept of the log, and what holds it back. */
export interface LogFacts {
  readonly partitions: number;
  readonly bytes: number;
  /** Age of the oldest transaction that is open in the database, milliseconds; 0 where there is none. */
  readonly oldestTransactionMs: number;
}

/** The log of changes that triggers write in Postgres, for one captured table. */
export interface PostgresLog {
  /**
   * The database's snapshot at this moment. Throws an OperatorError where log or triggers are missing, or
   * where the database has been restored to a time before `acknowledged`, or does not have `mark`.
   */
  snapshot(acknowledged: Snapshot | null, mark?: LogMark | null): Promise<Snapshot>;
  /** Leaves a mark behind the last snapshot, in the very server that answered it. */
  mark(): Promise<LogMark>;
  /** Pages of bounded size at the reader's pace; an empty window has none. Leaving early ends the query. */
  read(window: LogWindow, signal: AbortSignal): AsyncIterable<LogPage>;
  /** Makes room ahead and drops what is acknowledged; never waits for the users' transactions. */
  upkeep(acknowledged: Snapshot): Promise<LogFacts>;
  close(): Promise<void>;
}
