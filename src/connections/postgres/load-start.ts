import type { Pool } from 'pg';
import { TransientError } from '../../errors.ts';
import { translatePostgres } from './errors.ts';

/**
 * The version that the newest load of the table `name` copies, if it is one of the Delta table with this id: its
 * feed begins behind it. Null where there is none. Throws a TransientError where the load has not chosen it yet.
 */
export function createLoadStart(pool: Pool, name: string): (tableId: string) => Promise<number | null> {
  return async (tableId) => {
    const { rows } = await pool
      .query<{ tableId: string | null; version: string | null }>(NEWEST, [name])
      .catch((error: unknown) => {
        throw translatePostgres(error, { doing: 'looking for loads', table: 'deltaferry.loads' });
      });
    const [newest] = rows;
    if (newest === undefined) return null;
    if (newest.version === null)
      throw new TransientError({
        code: 'LOAD_NOT_PINNED',
        message: `The load of ${name} has not chosen the version yet behind which its changes begin.`,
      });
    return newest.tableId === tableId ? Number(newest.version) : null;
  };
}

const NEWEST = `
  SELECT delta_table_id AS "tableId", version FROM deltaferry.loads
  WHERE name = $1 AND source = 'delta' AND phase <> 'failed' ORDER BY started_at DESC LIMIT 1`;
