import type { Pool, QueryResult, QueryResultRow } from 'pg';
import { TransientError } from '../../errors.ts';
import type { LoadStart } from '../../flow/feed-jump.ts';
import type { LoadPhase } from '../../flow/load-state.ts';
import type { Snapshot } from '../../ports/postgres-log.ts';
import { translatePostgres } from './errors.ts';

/**
 * The newest load of the table `name` that was not given up, if it is one of the Delta table with this id: its
 * feed begins behind it. Null where there is none, or none that began after `since`. Throws a TransientError where the
 * load has not chosen its version yet.
 */
export function createLoadStart(
  pool: Pool,
  name: string,
): (tableId: string, since?: string) => Promise<LoadStart | null> {
  return async (tableId, since = '') => {
    const { rows } = await asked<NewestRow>(pool.query(NEWEST, [name, since]));
    const [newest] = rows;
    if (newest === undefined) return null;
    if (newest.version === null)
      throw new TransientError({
        code: 'LOAD_NOT_PINNED',
        message: `The load of ${name} has not chosen the version yet behind which its changes begin.`,
      });
    const { version, began, phase } = newest;
    return newest.tableId === tableId ? { version: Number(version), began, live: phase === 'live' } : null;
  };
}

/** Where the load of the table from Delta is that began then; null where none is known. */
export function createLoadPhase(pool: Pool, name: string): (began: string) => Promise<LoadPhase | null> {
  return async (began) =>
    (await asked<{ phase: LoadPhase }>(pool.query(PHASE, [name, began]))).rows[0]?.phase ?? null;
}

/**
 * The snapshot of the database with which the newest load from Postgres began, if it began after `since` and is done:
 * Delta then has everything that it sees. Null where there is none.
 */
export function createLogStart(pool: Pool, name: string): (since: string) => Promise<Snapshot | null> {
  return async (since) =>
    (await asked<{ position: Snapshot }>(pool.query(LOADED, [name, since]))).rows[0]?.position ?? null;
}

/** When the newest load from one side began, in a form that sorts by time; '' where there is none. */
export function createNewestLoad(
  pool: Pool,
  name: string,
  source: 'delta' | 'postgres',
): () => Promise<string> {
  return async () =>
    (await asked<{ began: string | null }>(pool.query(BEGAN, [name, source]))).rows[0]?.began ?? '';
}

interface NewestRow {
  readonly tableId: string | null;
  readonly version: string | null;
  readonly began: string;
  readonly phase: LoadPhase;
}

async function asked<R extends QueryResultRow>(query: Promise<QueryResult<R>>): Promise<QueryResult<R>> {
  return await query.catch((error: unknown) => {
    throw translatePostgres(error, { doing: 'looking for loads', table: 'deltaferry.loads' });
  });
}

const STARTED = `to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

const BEGAN = `SELECT max(${STARTED}) AS began FROM deltaferry.loads WHERE name = $1 AND source = $2`;

const LOADED = `
  SELECT log_position::text AS position FROM deltaferry.loads
  WHERE name = $1 AND source = 'postgres' AND phase = 'live' AND log_position IS NOT NULL
    AND ${STARTED} COLLATE "C" > $2 ORDER BY started_at DESC LIMIT 1`;

const NEWEST = `
  SELECT delta_table_id AS "tableId", version, ${STARTED} AS began, phase FROM deltaferry.loads
  WHERE name = $1 AND source = 'delta' AND phase <> 'failed' AND ${STARTED} COLLATE "C" > $2 ORDER BY started_at DESC LIMIT 1`;

const PHASE = `SELECT phase FROM deltaferry.loads WHERE name = $1 AND source = 'delta' AND ${STARTED} = $2`;
