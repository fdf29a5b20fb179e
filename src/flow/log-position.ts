import { OperatorError } from '../errors.ts';
import type { Stored } from './stop-note.ts';

/** A `pg_snapshot` as text (`xmin:xmax:xip,…`). */
type Snapshot = string;

/**
 * Where a log poller stands: every transaction that `acknowledged` sees is published. `target` is set
 * within a window: of the transactions that it sees besides, the net changes whose last change_id is not
 * greater than `last` are published too.
 */
export interface LogPosition {
  readonly acknowledged: Snapshot;
  readonly target: Snapshot | null;
  readonly last: bigint;
  /** Null where it was stored by a version that left none. */
  readonly proof: LogProof | null;
}

/**
 * The mark was committed after `proved`, and after `target` where there is one: a database that holds the mark has
 * lost nothing of what was published. Up to `acknowledged` there were only transactions without a change since.
 */
export interface LogProof {
  readonly mark: string;
  readonly proved: Snapshot;
}

/** Sees nothing: whatever the log holds is then new. */
export const SEES_NOTHING: Snapshot = '1:1:';

export const LOG_START: LogPosition = { acknowledged: SEES_NOTHING, target: null, last: 0n, proof: null };

/** Of two snapshots of one database: the one that was taken first. The other sees all that it sees. */
export function earlierOf(one: Snapshot, other: Snapshot): Snapshot {
  const [a, b] = [snapshotParts(one), snapshotParts(other)];
  if (a.xmax !== b.xmax) return a.xmax < b.xmax ? one : other;
  // Nobody began in between: whoever was open may have ended.
  return a.open.length >= b.open.length ? one : other;
}

/** Before `xmin` every transaction has ended; from `xmax` on none is seen; between them none of `open`. */
export interface SnapshotParts {
  readonly xmin: bigint;
  readonly xmax: bigint;
  readonly open: readonly bigint[];
}

export function snapshotParts(snapshot: Snapshot): SnapshotParts {
  const [xmin = '', xmax = '', open = ''] = snapshot.split(':');
  return { xmin: BigInt(xmin), xmax: BigInt(xmax), open: open === '' ? [] : open.split(',').map(BigInt) };
}

/** Numbers as text: change_id and transaction ids go beyond what JSON's numbers hold. */
export function storedLogPosition({ acknowledged, target, last, proof }: LogPosition): Stored {
  const known = { acknowledged, target, last: String(last) };
  return proof === null ? known : { ...known, ...proof };
}

/** Throws an OperatorError where what was stored is not a position of a log poller. */
export function parseLogPosition(stored: Stored, table: string): LogPosition {
  const { acknowledged, target, last, mark, proved } = stored;
  const isProved = isMark(mark) && isSnapshot(proved);
  if (
    isSnapshot(acknowledged) &&
    (target === null || isSnapshot(target)) &&
    isChangeId(last) &&
    (isProved || mark === undefined)
  )
    return { acknowledged, target, last: BigInt(last), proof: isProved ? { mark, proved } : null };
  throw new OperatorError({
    code: 'POSITION_UNREADABLE',
    message: `The stored position of the Postgres log of ${table} is not one: ${JSON.stringify(stored)}.`,
    remedy: logRemedy(table),
  });
}

/** A load that began after the stop, whose beginning the poller then goes on from. */
export function logRemedy(table: string): string {
  return `Leave \`deltaferry run\` going and load the table anew: \`deltaferry backfill ${table} --from postgres\`.`;
}

/** One that Postgres would take: 0 < xmin ≤ xmax, and the open ones ascending from xmin to below xmax. */
function isSnapshot(value: unknown): value is Snapshot {
  const match =
    typeof value === 'string' ? /^(\d{1,19}):(\d{1,19}):((?:\d{1,19}(?:,|$))*)$/.exec(value) : null;
  if (match === null || match[3]?.endsWith(',') === true) return false;
  const [xmin, xmax] = [BigInt(match[1] ?? 0), BigInt(match[2] ?? 0)];
  if (xmin < 1n || xmax < xmin) return false;
  let least = xmin;
  for (const text of match[3] === '' ? [] : (match[3]?.split(',') ?? [])) {
    const xid = BigInt(text);
    if (xid < least || xid >= xmax) return false;
    least = xid + 1n;
  }
  return true;
}

/** The id of the database system, where it is known, and a number. */
function isMark(value: unknown): value is string {
  return typeof value === 'string' && /^\d{0,20}\/\d{1,19}$/.test(value);
}

function isChangeId(value: unknown): value is string {
  return typeof value === 'string' && /^\d{1,19}$/.test(value) && BigInt(value) < 2n ** 63n;
}
