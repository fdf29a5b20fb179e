import type { Change, Micros } from '../change/change.ts';

/** A source row that can never become a change, kept for the operator. */
export interface RejectedChange {
  readonly key: string;
  readonly table: string;
  readonly code: string;
  readonly message: string;
  readonly position: number | bigint;
  readonly ts: Micros;
  /** The row or rows as JSON text, for a person to read. */
  readonly payload: string;
}

/** Where a producer stands; what it means is the producer's own affair. Plain JSON. */
export type Position = Readonly<Record<string, string | number | null>>;

/**
 * The producing end of the changes topic for one producer and one table. Changes and the position
 * they lead to become visible together or not at all.
 */
export interface ChangeLog {
  /** Fences every older owner, settles what it left open, and returns the last position (null: none yet). */
  open(): Promise<Position | null>;
  /**
   * Resolves once durable. On any error the outcome is unknown: call `open()` again and go on from
   * the position it returns. A FencedError means another process has opened this log since.
   */
  publish(batch: PublishBatch): Promise<void>;
  close(): Promise<void>;
}

export interface PublishBatch {
  readonly changes: readonly Change[];
  readonly rejected: readonly RejectedChange[];
  readonly position: Position;
}
