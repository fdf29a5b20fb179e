/** A record as it lies on the topic. */
export interface StreamRecord {
  readonly offset: bigint;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  /** Broker or producer time, milliseconds. */
  readonly timestamp: number;
}

export interface StreamBatch {
  readonly partition: number;
  /** The offset the fetch asked for: every committed record from here on is in `records`. */
  readonly from: bigint;
  /** The offset after the last record, skipping control records where known. `records` may be empty. */
  readonly next: bigint;
  /** The partition's end when it was fetched, for lag. */
  readonly end: bigint;
  readonly records: readonly StreamRecord[];
}

/** What becomes of a partition after a batch. */
export type BatchOutcome =
  | { readonly kind: 'done'; readonly next: bigint }
  /** Read on from this offset: the batch did not fit where the sink stands. */
  | { readonly kind: 'seek'; readonly offset: bigint }
  /** Nothing moves; the same offset is fetched again after this many milliseconds. */
  | { readonly kind: 'pause'; readonly ms: number };

export interface PartitionRange {
  readonly low: bigint;
  readonly high: bigint;
}

export interface StreamHandler {
  /**
   * Called for partitions that are newly ours, and for one whose offset the broker no longer has, with
   * their watermarks; answers where to read from. A partition left out of the answer stays paused (the
   * handler has said why) and is asked for again after a while; where it throws, all are asked for
   * again soon. Never called for a partition whose batch is still in hand.
   */
  assigned(partitions: ReadonlyMap<number, PartitionRange>): Promise<ReadonlyMap<number, bigint>>;
  /** They are no longer ours; a batch in hand may still be running. */
  revoked(partitions: readonly number[]): void;
  /** Never throws. `keepAlive` must be called at least every few seconds of a long batch (never throws). */
  batch(batch: StreamBatch, keepAlive: () => Promise<void>): Promise<BatchOutcome>;
  /** What Kafka's own offsets, which lag tools read, may follow; without it: what was done. */
  durable?(): ReadonlyMap<number, bigint>;
}

/** One member of a consumer group on one topic, reading committed records. */
export interface RecordStream {
  /** Runs until the signal aborts, then leaves the group after the batches in hand. */
  run(handler: StreamHandler, signal: AbortSignal): Promise<void>;
  /**
   * The handler has lost its place in these partitions: what was read ahead is forgotten, and once a
   * batch in hand has ended, `assigned` is called for them anew. Partitions that are not ours are passed over.
   */
  reread(partitions: readonly number[]): void;
}
