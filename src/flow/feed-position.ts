import { OperatorError } from '../errors.ts';
import type { Stored } from './stop-note.ts';

/**
 * Where a delta feed stands: everything up to and including `version` is published, and of the version
 * after it the first `groups` keys (a commit too large for one transaction is sent in several).
 */
export interface FeedPosition {
  readonly tableId: string;
  readonly version: number;
  readonly groups: number;
  /** When `version` was committed, where that is known: another commit of this number is one of another table. */
  readonly stamp?: string;
}

/** A history may tell a commit's time a little differently each time: commits that were not in order are put into it. */
const SAME_COMMIT_MS = 60_000;

export function isSameCommit(stamp: string, other: string): boolean {
  return stamp === other || Math.abs(Date.parse(stamp) - Date.parse(other)) <= SAME_COMMIT_MS;
}

/** A load that began after the stop. */
export function feedRemedy(code: string, table: string): string {
  const load = `the table anew: \`deltaferry backfill ${table}\``;
  switch (code) {
    case 'DELTA_TABLE_SHORTER':
    case 'DELTA_TABLE_RESTORED':
      return `Put the table back as it was; or leave \`deltaferry run\` going, make a commit to the table, so that its newest version is later than what was published (ALTER TABLE … SET TBLPROPERTIES will do), and load ${load}.`;
    case 'POSITION_UNREADABLE':
      return `Leave \`deltaferry run\` going and load ${load}.`;
    default:
      return `Load ${load}.`;
  }
}

/** Before the first commit of a table. */
export function startOf(tableId: string): FeedPosition {
  return { tableId, version: -1, groups: 0 };
}

/** Whether a commit was published, or a part of one. */
export function hasPublished({ version, groups }: FeedPosition): boolean {
  return version >= 0 || groups > 0;
}

/** Null where what was stored is not a position of a delta feed. */
export function feedPositionIn({ tableId, version, groups, stamp }: Stored): FeedPosition | null {
  return typeof tableId === 'string' && isCount(version, -1) && isCount(groups, 0)
    ? { tableId, version, groups, ...(typeof stamp === 'string' ? { stamp } : {}) }
    : null;
}

/** Throws an OperatorError where what was stored is not a position of a delta feed. */
export function parseFeedPosition(stored: Stored, table: string): FeedPosition {
  const position = feedPositionIn(stored);
  if (position !== null) return position;
  throw new OperatorError({
    code: 'POSITION_UNREADABLE',
    message: `The stored position of the Delta feed of ${table} is not one: ${JSON.stringify(stored)}.`,
    remedy: feedRemedy('POSITION_UNREADABLE', table),
  });
}

function isCount(value: unknown, least: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= least;
}
