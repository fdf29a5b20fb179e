import type { Change } from '../change/change.ts';
import { TransientError } from '../errors.ts';

/** Changes of one partition, in partition order, and the offsets they span. */
export interface HistoryBatch {
  readonly partition: number;
  /** Offset the sink must be at for this batch to be applied. */
  readonly expected: bigint;
  /** Offset to continue from once it is applied. */
  readonly next: bigint;
  readonly changes: readonly Change[];
}

export interface AppliedBatch {
  readonly versionsInserted: number;
  readonly versionsEnded: number;
  /** Keys that took the exact path because of a late change. */
  readonly lateKeys: number;
}

/** A load fills the table: changes wait on their topic until it is done. */
export class HeldByLoadError extends TransientError {
  readonly load: string;

  constructor(load: string, what: string) {
    super({ code: 'HELD_BY_LOAD', message: `${what} waits for the load ${load}.` });
    this.load = load;
  }
}

/**
 * The SCD2 history of one table and the offsets of one consumer group in one database, moved
 * together in one transaction.
 */
export interface HistorySink {
  /** Next offset of each of these partitions; a partition never seen before starts at `startAt(partition)` and is recorded. */
  claim(
    partitions: readonly number[],
    startAt: (partition: number) => bigint,
  ): Promise<ReadonlyMap<number, bigint>>;
  /**
   * Durable when it resolves. Throws FencedError where the stored offset is not `expected`,
   * HeldByLoadError while a load fills the table;
   * PoisonError where a value can never be stored (bisect to find which);
   * TransientError and OperatorError as the database answers. Whatever is thrown, nothing was applied,
   * except after a lost answer: `claim` then tells.
   */
  apply(batch: HistoryBatch): Promise<AppliedBatch>;
  close(): Promise<void>;
}
