import type { Pool, PoolClient } from 'pg';
import { BugError } from '../../errors.ts';
import { SEES_NOTHING, snapshotParts } from '../../flow/log-position.ts';
import type { Load } from '../../ports/load.ts';
import type { Snapshot } from '../../ports/postgres-log.ts';
import { logTable } from './capture-ddl.ts';
import { loadTableNames } from './load-table-ddl.ts';
import { inTransaction } from './transaction.ts';

/** The keys of a captured target that people have changed since the load's log position. */
export interface LoadEdits {
  /** Where they are: a table with the column `key`, as the log names them. */
  readonly table: string;
  /** Adds those whose transactions have committed by now. */
  note(): Promise<void>;
}

/**
 * Begins anew at the load's log position. The log keeps everything since then (log-upkeep.ts), so nothing of this
 * has to outlive a crash.
 */
export async function openLoadEdits(pool: Pool, load: Load): Promise<LoadEdits> {
  const { edited } = loadTableNames(load.id);
  const where = { doing: 'looking for changes since the load began', table: load.target };
  if (load.logPosition === null)
    throw new BugError({
      code: 'LOG_POSITION_UNKNOWN',
      message: `The load ${load.id} has no log position.`,
    });
  let seen = load.logPosition;
  await inTransaction(pool, where, async (client) => {
    await client.query(`DROP TABLE IF EXISTS ${edited}`);
    await client.query(`CREATE UNLOGGED TABLE ${edited} (key text COLLATE "C" PRIMARY KEY)`);
  });

  async function note(): Promise<void> {
    seen = await inTransaction(pool, where, async (client) => {
      await client.query(BY_INDEX);
      const { rows } = await client.query<{ now: Snapshot }>(
        `WITH noted AS (INSERT INTO ${edited} (key) ${editedSince(load.name)} ON CONFLICT DO NOTHING)
         SELECT pg_current_snapshot()::text AS now`,
        windowOf(seen),
      );
      return rows[0]!.now;
    });
  }

  // All that has gathered since: from now on there is little to add at a time.
  await note();
  await inTransaction(pool, where, (client) => client.query(`ANALYZE ${edited}`));
  return { table: edited, note };
}

/** Whether people have changed anything since the load's log position. */
export async function hasEdits(client: PoolClient, load: Load): Promise<boolean> {
  await client.query(BY_INDEX);
  const { rows } = await client.query<{ found: boolean }>(
    `SELECT EXISTS (${editedSince(load.name)}) AS found`,
    windowOf(load.logPosition ?? SEES_NOTHING),
  );
  return rows[0]?.found === true;
}

const MOST_COUNTED = 10_000;

/** How many rows of a table's log are in `to` and not in `from`; counted up to ten thousand. */
export async function countBetween(
  pool: Pool,
  name: string,
  from: Snapshot,
  to: Snapshot,
): Promise<{ readonly rows: number; readonly atLeast: boolean }> {
  return await inTransaction(pool, { doing: 'looking at the log', table: logTable(name) }, async (client) => {
    await client.query(BY_INDEX);
    const { rows } = await client.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM (SELECT FROM (${loggedSince(name)}) since
       WHERE pg_visible_in_snapshot(xid, $3::pg_snapshot) LIMIT ${MOST_COUNTED}) counted`,
      [...windowOf(from), to],
    );
    const counted = rows[0]?.n ?? 0;
    return { rows: counted, atLeast: counted === MOST_COUNTED };
  });
}

/** Statistics know nothing of a log's newest rows. */
const BY_INDEX = 'SET LOCAL enable_seqscan = off';

/** What committed transactions that a snapshot does not see have logged, in two parts that the index on xid finds. */
function loggedSince(name: string): string {
  const columns = 'xid, key, before, after';
  return `SELECT ${columns} FROM ${logTable(name)} WHERE xid >= $1::xid8
          UNION ALL SELECT ${columns} FROM ${logTable(name)} WHERE xid = ANY ($2::xid8[])`;
}

/**
 * Their keys. A key that a transaction brought back to where it found it is not one of them: nothing of that is
 * published, so Delta never hears of it.
 */
function editedSince(name: string): string {
  const images = (column: string): string =>
    `array_agg(${column}::text ORDER BY ${column}::text COLLATE "C")`;
  return `SELECT DISTINCT key COLLATE "C" FROM (${loggedSince(name)}) since GROUP BY xid, key COLLATE "C"
          HAVING count(*) = 1 OR ${images('before')} IS DISTINCT FROM ${images('after')}`;
}

/** `$1` and `$2` of the above: from which transaction on none is seen, and which before it are not. */
function windowOf(snapshot: Snapshot): [xmax: string, open: string[]] {
  const { xmax, open } = snapshotParts(snapshot);
  return [String(xmax), open.map(String)];
}
