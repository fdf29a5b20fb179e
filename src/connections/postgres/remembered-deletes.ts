import type { Pool } from 'pg';
import type { RememberedDeletes } from '../../ports/remembered-deletes.ts';
import { UNDER_WAY } from './load-phases.ts';
import { roleOf } from './pool.ts';
import { inTransaction } from './transaction.ts';

export interface RememberedDeletesOptions {
  readonly pool: Pool;
  /** The history table as the sink names it. */
  readonly historyTable: string;
  /** Most that one transaction forgets; default 1000. */
  readonly atOnce?: number | undefined;
}

export function createRememberedDeletes({
  pool,
  historyTable,
  atOnce = 1000,
}: RememberedDeletesOptions): RememberedDeletes {
  const where = {
    doing: 'forgetting deletes that have expired',
    table: 'deltaferry.orphan_deletes',
    role: roleOf(pool),
  };
  return {
    forget: (olderThanMs) =>
      inTransaction(pool, where, async (client) => {
        const { rowCount } = await client.query(FORGET, [historyTable, olderThanMs, atOnce]);
        return rowCount ?? 0;
      }),
  };
}

/**
 * Rows that somebody works on are left for the next time, so that it neither waits nor is part of a deadlock. A load
 * that begins meanwhile misses nothing: its version is newer than what expires.
 */
const FORGET = `
  DELETE FROM deltaferry.orphan_deletes WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM deltaferry.orphan_deletes
    WHERE target = $1 AND recorded_at < now() - $2::float8 * interval '1 millisecond'
      AND NOT EXISTS (SELECT FROM deltaferry.loads WHERE target = $1 AND ${UNDER_WAY})
    ORDER BY recorded_at LIMIT $3 FOR UPDATE SKIP LOCKED))`;
