/** One partition's way from an offset to the next, as a merge brings it. */
export interface OffsetMove {
  readonly partition: number;
  readonly expected: bigint;
  readonly next: bigint;
}

/** What the control schema knows of one table's merges. */
export interface LedgerState {
  /** Counts the times that a merge's outcome was in doubt. Every merge bears it, and an older one changes nothing. */
  readonly epoch: bigint;
  /** The mark of a merge that was begun and of which nobody has written down how it ended. */
  readonly pending: { readonly mark: string; readonly since: Date } | null;
  readonly offsets: ReadonlyMap<number, bigint>;
}

/**
 * The bookkeeping of one table's merges and of one group's offsets. Failures are TransientError or
 * OperatorError, as the database answers.
 */
export interface MergeLedger {
  /** Records the start of partitions never seen before, and answers what is known. */
  claim(starts: ReadonlyMap<number, bigint>): Promise<LedgerState>;
  /** Moves offsets for which there is nothing to merge. FencedError where one is not at `expected`: then none moves. */
  move(moves: readonly OffsetMove[]): Promise<void>;
  /** The load into the table that the group's changes wait for; null where there is none. */
  heldBy(): Promise<string | null>;
  /** Waits for the table's turn or for the signal (then throws its reason). One at a time in a process. */
  turn(signal: AbortSignal): Promise<MergeTurn>;
  /** Null where somebody else has the turn. */
  turnIfFree(): Promise<MergeTurn | null>;
  close(): Promise<void>;
}

/** The right to merge: nobody else has it, in any process, until it is released or lost. */
export interface MergeTurn {
  /** Aborts when another may have the turn, with the error as its reason. */
  readonly lost: AbortSignal;
  state(): Promise<LedgerState>;
  /**
   * Notes the merge before it is sent. HeldByLoadError while a load fills the table; FencedError where an offset is not at `expected`, or the epoch
   * is another, or another merge is pending.
   */
  begin(epoch: bigint, mark: string, moves: readonly OffsetMove[]): Promise<void>;
  /** The merge with this mark is done: it is no longer pending, and no offset is behind these. */
  finish(mark: string, offsets: ReadonlyMap<number, bigint>): Promise<void>;
  /** The merge with this mark never happened and never will. */
  forget(mark: string): Promise<void>;
  /** No offset is behind these, none goes back. */
  raise(offsets: ReadonlyMap<number, bigint>): Promise<void>;
  /** Never back. What is pending stays so. */
  advance(epoch: bigint): Promise<void>;
  release(): Promise<void>;
}
