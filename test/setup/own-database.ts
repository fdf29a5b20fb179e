import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { testStack } from '../support/stack.ts';

export interface OwnDatabase {
  readonly name: string;
  readonly url: string;
  readonly pool: pg.Pool;
  drop(): Promise<void>;
}

/** A database of its own in the test stack. */
export async function ownDatabase(prefix: string): Promise<OwnDatabase> {
  const name = `${prefix}_${randomBytes(4).toString('hex')}`;
  const server = new pg.Client({ connectionString: testStack().postgres.url });
  await server.connect();
  try {
    await server.query(`create database ${name}`);
  } finally {
    await server.end();
  }
  const url = new URL(testStack().postgres.url);
  url.pathname = `/${name}`;
  const pool = openPool({ url: url.href });
  return {
    name,
    url: url.href,
    pool,
    async drop() {
      await pool.end();
      const again = new pg.Client({ connectionString: testStack().postgres.url });
      await again.connect();
      try {
        await again.query(`drop database ${name} with (force)`);
      } finally {
        await again.end();
      }
    },
  };
}
