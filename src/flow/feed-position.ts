import { OperatorError } from '../errors.ts';

/**
 * Where a delta feed stands: everything up to and including `version` is published, and of the version
 * after it the first `groups` keys (a commit too large for one transaction is sent in several).
 */
export interface FeedPosition {
  readonly tableId: string;
  readonly version: number;
  readonly groups: number;
}

/** Before the first commit of a table. */
export function startOf(tableId: string): FeedPosition {
  return { tableId, version: -1, groups: 0 };
}

/** Throws an OperatorError where what was stored is not a position of a delta feed. */
export function parseFeedPosition(
  stored: Readonly<Record<string, string | number | null>>,
  table: string,
): FeedPosition {
  const { tableId, version, groups } = stored;
  if (typeof tableId === 'string' && isCount(version, -1) && isCount(groups, 0))
    return { tableId, version, groups };
  throw new OperatorError({
    code: 'POSITION_UNREADABLE',
    message: `The stored position of the Delta feed of ${table} is not one: ${JSON.stringify(stored)}.`,
    remedy: `Load the table anew: \`deltaferry backfill ${table}\`.`,
  });
}

function isCount(value: unknown, least: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= least;
}
