import type { Change, Row } from '../change/change.ts';
import type { FeedPosition } from './feed-position.ts';
import type { PairingOutcome, Rejection } from './pairing.ts';

export interface FeedBatch {
  readonly changes: readonly Change[];
  readonly rejected: readonly Rejection[];
  /** Where the feed stands once this is durable. */
  readonly position: FeedPosition;
}

export interface FeedBatchLimits {
  readonly changes: number;
  /** Rough size of the rows. */
  readonly bytes: number;
}

/**
 * Collects outcomes in the order of the feed and cuts them into transactions: several small versions
 * in one, a large one over several. What an earlier transaction has published of a version is skipped.
 */
export interface FeedBatcher {
  add(outcome: PairingOutcome): void;
  /** Every row of the versions up to here has been added. */
  complete(version: number): void;
  /** The version to read next, from its start. */
  next(): number;
  isFull(): boolean;
  /** What was collected since the last call; null where nothing has moved. */
  take(): FeedBatch | null;
}

export function createFeedBatcher(start: FeedPosition, limits: FeedBatchLimits): FeedBatcher {
  let position = start;
  /** Keys of the version after `position.version` that were published before this run began. */
  let published = start.groups;
  let seen = 0;
  let moved = false;
  let changes: Change[] = [];
  let rejected: Rejection[] = [];
  let bytes = 0;

  function complete(version: number): void {
    if (version <= position.version) return;
    position = { tableId: position.tableId, version, groups: 0 };
    published = 0;
    seen = 0;
    moved = true;
  }

  return {
    add(outcome) {
      complete(outcome.version - 1);
      seen++;
      if (seen <= published) return;
      position = { ...position, groups: seen };
      moved = true;
      if (outcome.kind === 'change') {
        changes.push(outcome.change);
        bytes += sizeOf(outcome.change.before) + sizeOf(outcome.change.after);
      } else if (outcome.kind === 'rejected') {
        rejected.push(outcome.rejection);
        bytes += outcome.rejection.payload.length;
      }
    },
    complete,
    next: () => position.version + 1,
    isFull: () => changes.length + rejected.length >= limits.changes || bytes >= limits.bytes,
    take() {
      if (!moved) return null;
      const batch = { changes, rejected, position };
      moved = false;
      changes = [];
      rejected = [];
      bytes = 0;
      return batch;
    },
  };
}

function sizeOf(row: Row | null): number {
  if (row === null) return 0;
  let size = 0;
  for (const value of row)
    size += typeof value === 'string' || value instanceof Uint8Array ? value.length : 8;
  return size;
}
