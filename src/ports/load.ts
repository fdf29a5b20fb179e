import type { Change, Micros, Row } from '../change/change.ts';
import type { RejectedChange } from './change-log.ts';
import type { LoadPhase } from '../flow/load-state.ts';

/** The version of a Delta table that a load copies. */
export interface PinnedVersion {
  readonly tableId: string;
  readonly version: number;
  /** When it was committed. */
  readonly ts: Micros;
  readonly rows: number;
}

/** A row that was read, or why it can never be one of the table, with what it held. */
export type SnapshotRow =
  | { readonly kind: 'row'; readonly row: Row }
  | { readonly kind: 'invalid'; readonly code: string; readonly message: string; readonly payload: string };

/** The rows of one version of a table, in pieces whose content never changes. */
export interface SnapshotSource {
  pin(): Promise<PinnedVersion>;
  /** The pieces of the version, made if need be; each is a short text that `read` takes. Throws an OperatorError where the version is gone. */
  pieces(load: string, pinned: PinnedVersion, signal: AbortSignal): Promise<readonly string[]>;
  /** All rows of a piece, in the same order each time. */
  read(piece: string, pinned: PinnedVersion, signal: AbortSignal): Promise<readonly SnapshotRow[]>;
  /** Removes what was made for the load. */
  tidy(load: string): Promise<void>;
}

/** What the control schema knows of a load. */
export interface Load {
  readonly id: string;
  readonly name: string;
  /** The table that it fills. */
  readonly target: string;
  readonly topic: string;
  readonly phase: LoadPhase;
  readonly pinned: PinnedVersion | null;
  readonly startOffsets: readonly bigint[] | null;
  readonly endOffsets: readonly bigint[] | null;
  readonly publishedRows: number;
  readonly rejectedRows: number;
  readonly appliedRows: number;
  /** ISO text. */
  readonly startedAt: string;
  readonly error: string | null;
}

/** What is published so far; moved in the transaction that publishes. */
export interface PublishedSoFar {
  readonly parts: number;
  readonly rows: number;
  readonly rejected: number;
}

/** The loads of one table, as the control schema keeps them. */
export interface Loads {
  newest(): Promise<Load | null>;
  /**
   * Begins a load: from its commit on the table's live consumers wait, and everything they applied before is
   * visible. Throws an OperatorError where the target holds rows.
   */
  begin(load: NewLoad): Promise<Load>;
  pinned(id: string, version: PinnedVersion): Promise<void>;
  /** The pieces of the load in order, empty until they are noted. */
  pieces(id: string): Promise<readonly string[]>;
  notePieces(id: string, pieces: readonly string[]): Promise<void>;
  acknowledge(id: string, published: PublishedSoFar): Promise<void>;
  noteApplied(id: string, rows: number): Promise<void>;
  /** Everything is on the topic, up to these offsets. */
  published(id: string, endOffsets: readonly bigint[]): Promise<void>;
  noteError(id: string, text: string): Promise<void>;
  /** Gives it up: consumers go on, what was loaded aside is dropped. */
  giveUp(id: string): Promise<void>;
}

export interface NewLoad {
  readonly id: string;
  /** Where the load's records begin, per partition. */
  readonly startOffsets: readonly bigint[];
  /** Where a live consumer that has no offset yet starts, per partition of the changes topic. */
  readonly changesLow: readonly bigint[];
}

/** Records of one partition of the load's topic. */
export interface LoadBatch {
  readonly partition: number;
  readonly expected: bigint;
  readonly next: bigint;
  readonly rows: readonly Row[];
}

/** The table beside the target that a load fills first, and how far it has come, moved together. */
export interface LoadTable {
  /** Next offset of each partition; begins anew where a crash of the server has emptied the table. */
  claim(): Promise<ReadonlyMap<number, bigint>>;
  /** Throws a FencedError where the partition is not at `expected`: another process loads it. */
  append(batch: LoadBatch): Promise<void>;
  /** Rows in the table. */
  rows(): Promise<number>;
}

/** What moves a finished load into its target. */
export interface LoadHandover {
  /**
   * In one transaction: the target, still empty, gets every row, consumers go on, and the load is `live`.
   * Throws an OperatorError where the target holds rows or a key came twice. Doing it again is harmless.
   */
  handOver(load: Load): Promise<void>;
}

/** A publication of a load's rows. */
export interface LoadPublication {
  readonly changes: readonly Change[];
  readonly rejected: readonly RejectedChange[];
}
