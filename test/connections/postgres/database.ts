import { randomBytes } from 'node:crypto';
import type { Pool } from 'pg';
import { openPool } from '../../../src/connections/postgres/pool.ts';
import { testStack } from '../../support/stack.ts';

/** A database of a test file's own. */
export interface TestDatabase {
  readonly url: string;
  readonly pool: Pool;
  drop(): Promise<void>;
}

/** On the server that all tests share, unless another one is given. */
export async function createDatabase(server: string = testStack().postgres.url): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  const url = new URL(server);
  url.pathname = `/${name}`;
  await onServer(server, `CREATE DATABASE ${name}`);
  const pool = openPool({ url: url.href, maxConnections: 6 });
  return {
    url: url.href,
    pool,
    async drop() {
      await pool.end();
      await onServer(server, `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** The same database through another role or another port. */
export function urlWith(
  url: string,
  changes: { user?: string; password?: string; host?: string; port?: number },
): string {
  const changed = new URL(url);
  if (changes.user !== undefined) changed.username = changes.user;
  if (changes.password !== undefined) changed.password = changes.password;
  if (changes.host !== undefined) changed.hostname = changes.host;
  if (changes.port !== undefined) changed.port = String(changes.port);
  return changed.href;
}

async function onServer(url: string, sql: string): Promise<void> {
  const pool = openPool({ url, maxConnections: 1 });
  try {
    await pool.query(sql);
  } finally {
    await pool.end();
  }
}
