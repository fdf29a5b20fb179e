import type { Pool } from 'pg';
import type { Snapshot } from '../../ports/postgres-log.ts';

export interface OpenTransactions {
  /** Notes which transactions are open. */
  seen(snapshot: Snapshot): void;
  /** Age of the oldest one, milliseconds; 0 where there is none. */
  oldestMs(pool: Pool): Promise<number>;
}

const OLDEST = `SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)) * 1000, 0)::float8 AS ms
  FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()`;

/**
 * How long transactions have been open. The server tells when they began only to a role that may read all
 * statistics; of others we know since when they have been in our snapshots.
 */
export function openTransactions(now: () => number): OpenTransactions {
  let since = new Map<string, number>();

  return {
    seen(snapshot) {
      const open = snapshot.slice(snapshot.lastIndexOf(':') + 1);
      if (open === '') return since.clear();
      const at = now();
      since = new Map(open.split(',').map((xid) => [xid, since.get(xid) ?? at]));
    },
    async oldestMs(pool) {
      const { rows } = await pool.query<{ ms: number }>(OLDEST);
      const first = Math.min(...since.values());
      return Math.max(rows[0]?.ms ?? 0, since.size === 0 ? 0 : now() - first);
    },
  };
}
