import type { Micros, Row } from '../change/change.ts';
import { OperatorError, type ErrorDetails, type PoisonError } from '../errors.ts';

export interface DeltaCommit {
  readonly version: number;
  readonly operation: string;
  /** Its time as text: commits of one number in two tables differ in it. */
  readonly stamp: string;
  /** The mark a sink of ours left in the commit (`deltaferry/…`), null for everybody else's commits. */
  readonly mark: string | null;
}

export interface DeltaTable {
  /** Delta's own id of the table: a replaced or re-created table has another. */
  readonly id: string;
  readonly changeDataFeed: boolean;
  /** Another text after every commit that changed rows: cheap to ask for, where the history is not. */
  readonly stamp: string;
}

export type DeltaChangeType = 'insert' | 'update_preimage' | 'update_postimage' | 'delete';

/** One row of the change data feed. */
export interface DeltaChangeRow {
  readonly version: number;
  readonly type: DeltaChangeType;
  /** `_commit_timestamp` in microseconds. */
  readonly ts: Micros;
  /** Null in the place of a value that does not fit its column. */
  readonly row: Row;
  readonly invalid: InvalidRow | null;
}

/** Why a row cannot be taken over, and what it held, for a person to read. */
export interface InvalidRow {
  readonly error: PoisonError;
  readonly values: readonly (string | null)[];
}

/** The versions of a range cannot be read in one go: read up to `version - 1` and from `version` on. */
export class SchemaChangedError extends OperatorError {
  /** Null where the source did not say. */
  readonly version: number | null;

  constructor(details: ErrorDetails & { readonly version: number | null }) {
    super(details);
    this.version = details.version;
  }
}

/** The change data feed of one Delta table. */
export interface DeltaSource {
  /** Throws an OperatorError where the table is missing. */
  describe(): Promise<DeltaTable>;
  /** Newest commits first, at most `limit`. */
  commits(limit: number): Promise<readonly DeltaCommit[]>;
  /**
   * Rows of the versions `from`..`to` (both included, pinned), ordered by version, then key, in
   * pages of bounded size; the consumer's pace is the reader's pace. Throws SchemaChangedError
   * where the range crosses an incompatible schema change, OperatorError where versions are gone.
   */
  changes(from: number, to: number, signal?: AbortSignal): AsyncIterable<readonly DeltaChangeRow[]>;
  close(): Promise<void>;
}
