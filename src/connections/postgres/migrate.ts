import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import type { Pool, PoolClient } from 'pg';
import { OperatorError } from '../../errors.ts';
import { translatePostgres } from './errors.ts';

export interface Migration {
  /** File name without `.sql`: "0001_control". */
  readonly name: string;
  readonly sql: string;
}

/** Beside src/ and dist/ alike. */
const SQL_FOLDER = new URL('../../../sql/', import.meta.url);
/** Any fixed number: every migrator of a database meets at this lock. */
const LOCK = 0x0df_e771;
const WHERE = { doing: 'migrating the control schema', table: 'deltaferry.migrations' };

/**
 * Brings the control schema up to date and returns the names of the migrations applied by this call.
 * Each runs in a transaction of its own; migrators that meet take turns. Throws an OperatorError where
 * an applied migration differs from its file, or is not known to this version.
 */
export async function migrate(
  pool: Pool,
  migrations: readonly Migration[] = shippedMigrations(),
): Promise<string[]> {
  const done: string[] = [];
  const client = await pool.connect().catch((error: unknown) => {
    throw translatePostgres(error, WHERE);
  });
  let failure: unknown;
  try {
    for (;;) {
      const name = await applyNext(client, migrations);
      if (name === null) return done;
      done.push(name);
    }
  } catch (error) {
    failure = error;
    throw translatePostgres(error, WHERE);
  } finally {
    // A connection that failed is closed: that also ends its transaction.
    client.release(failure !== undefined);
  }
}

/** Names of the migrations still to be applied, in order. The same errors as `migrate`. */
export async function pendingMigrations(
  pool: Pool,
  migrations: readonly Migration[] = shippedMigrations(),
): Promise<string[]> {
  const client = await pool.connect().catch((error: unknown) => {
    throw translatePostgres(error, WHERE);
  });
  let failure: unknown;
  try {
    return (await pending(client, migrations)).map((migration) => migration.name);
  } catch (error) {
    failure = error;
    throw translatePostgres(error, WHERE);
  } finally {
    client.release(failure !== undefined);
  }
}

export function shippedMigrations(): Migration[] {
  return readdirSync(SQL_FOLDER)
    .filter((file) => file.endsWith('.sql'))
    .toSorted()
    .map((file) => ({ name: file.slice(0, -4), sql: readFileSync(new URL(file, SQL_FOLDER), 'utf8') }));
}

/** The lock is held to the end of the transaction, so what is pending is read after whoever came first. */
async function applyNext(client: PoolClient, migrations: readonly Migration[]): Promise<string | null> {
  await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
  await client.query(`SET LOCAL lock_timeout = '60s'`);
  await client.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
  const next = (await pending(client, migrations))[0];
  if (next !== undefined) {
    await client.query(next.sql);
    await client.query('INSERT INTO deltaferry.migrations (name, checksum) VALUES ($1, $2)', [
      next.name,
      checksum(next),
    ]);
  }
  await client.query('COMMIT');
  return next?.name ?? null;
}

async function pending(client: PoolClient, migrations: readonly Migration[]): Promise<Migration[]> {
  const applied = await appliedChecksums(client);
  const known = new Map(migrations.map((migration) => [migration.name, migration]));
  for (const [name, sum] of applied) {
    const file = known.get(name);
    if (file === undefined)
      throw new OperatorError({
        code: 'MIGRATION_UNKNOWN',
        message: `The database's control schema has migration ${name}, which this version of Deltaferry does not know.`,
        remedy: 'Run the newer version that migrated it.',
      });
    if (checksum(file) !== sum)
      throw new OperatorError({
        code: 'MIGRATION_CHANGED',
        message: `Migration ${name} was changed after it had been applied to this database.`,
        remedy: `Restore sql/${name}.sql as it was released; changes go into a new migration.`,
      });
  }
  return migrations.filter((migration) => !applied.has(migration.name));
}

async function appliedChecksums(client: PoolClient): Promise<Map<string, string>> {
  const exists = await client.query<{ present: boolean }>(
    // to_regclass alone may answer from a cache that was filled before another migrator had committed.
    `SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('deltaferry.migrations')) AS present`,
  );
  if (exists.rows[0]?.present !== true) return new Map();
  const rows = await client.query<{ name: string; checksum: string }>(
    'SELECT name, checksum FROM deltaferry.migrations ORDER BY name',
  );
  return new Map(rows.rows.map((row) => [row.name, row.checksum]));
}

function checksum(migration: Migration): string {
  return createHash('sha256').update(migration.sql.replaceAll('\r\n', '\n')).digest('hex');
}
