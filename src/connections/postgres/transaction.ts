import type { Pool, PoolClient } from 'pg';
import { BugError, DeltaferryError, TransientError } from '../../errors.ts';
import { connectionSurvives, translatePostgres, type PostgresWhere } from './errors.ts';

/**
 * Runs `work` in one READ COMMITTED transaction, whatever the role's defaults. What it throws is
 * translated; nothing was done then, except after a lost answer to COMMIT (code COMMIT_UNKNOWN).
 */
export async function inTransaction<T>(
  pool: Pool,
  where: PostgresWhere,
  work: (client: PoolClient) => Promise<T>,
): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw translatePostgres(error, where);
  });
  let reusable = false;
  let committing = false;
  try {
    await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
    const result = await work(client);
    committing = true;
    const answer = await client.query('COMMIT');
    // A transaction that failed without our noticing answers ROLLBACK to COMMIT, and no error.
    if (answer.command !== 'COMMIT')
      throw new BugError({ code: 'COMMIT_REFUSED', message: `COMMIT was answered by ${answer.command}.` });
    reusable = true;
    return result;
  } catch (error) {
    const answered = error instanceof DeltaferryError || connectionSurvives(error);
    if (answered) reusable = await client.query('ROLLBACK').then(yes, no);
    if (committing && !answered) throw commitUnknown(error, where);
    throw translatePostgres(error, where);
  } finally {
    // Closing the connection ends its transaction as well.
    client.release(!reusable);
  }
}

function commitUnknown(cause: unknown, where: PostgresWhere): TransientError {
  return new TransientError({
    code: 'COMMIT_UNKNOWN',
    message: `The connection was lost during COMMIT while ${where.doing}: it may or may not have been done.`,
    cause,
  });
}

const yes = (): boolean => true;
const no = (): boolean => false;
