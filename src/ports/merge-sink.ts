import type { Change } from '../change/change.ts';

/** What a merge brings for one partition, and the offsets that it spans. */
export interface MergePart {
  readonly partition: number;
  /** Offset the sink must be at for this part to be merged. */
  readonly expected: bigint;
  /** Offset to continue from once it is merged. */
  readonly next: bigint;
  /** At most one per key, the last in partition order. Empty where the records were nothing for the sink. */
  readonly changes: readonly Change[];
}

export interface Merged {
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  /** How often another writer's commit made it begin again. */
  readonly conflicts: number;
  /** How the rows went: with the statement, as a file, or not at all. */
  readonly sent: 'inline' | 'staged' | 'nothing';
}

/**
 * One table that is written in batches, and the offsets of one consumer group, moved together. Any
 * number of replicas may use it: merges of one table never run side by side.
 */
export interface MergeSink {
  /**
   * Next offset of each of these partitions, after whatever a former owner may have left unsettled was
   * settled; a partition never seen before starts at `startAt(partition)` and is recorded. Waits for another
   * replica's merge where something is unsettled, until the signal aborts: throws its reason then.
   */
  claim(
    partitions: readonly number[],
    startAt: (partition: number) => bigint,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<number, bigint>>;
  /**
   * Durable when it resolves. Throws HeldByLoadError while a load fills the table, FencedError where a partition
   * is not at `expected`, PoisonError where
   * a value can never be stored (which one is for the caller to find out), TransientError and
   * OperatorError as the warehouse answers. Whatever is thrown, nothing was merged, except after a lost
   * answer: `claim` then tells.
   */
  merge(parts: readonly MergePart[], signal: AbortSignal): Promise<Merged>;
  /**
   * Puts small files together, if nobody merges at the moment; else nothing. Merges wait meanwhile:
   * the signal ends it at once.
   */
  optimize(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
