import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import type { Place } from '../../src/stack/part.ts';
import { freePorts } from '../../src/stack/ports.ts';
import { giveTo, postgresHome, serverAccount } from '../../src/stack/postgres-account.ts';
import { postgres } from '../../src/stack/postgres.ts';
import { randomSecrets } from '../../src/stack/secrets.ts';
import { untilPostgresAnswers } from './postgres-answers.ts';

/** A Postgres of a test's own, of which copies are made while it runs. */
export interface CopiedPostgres {
  /** Of the superuser. */
  readonly url: string;
  sql<T extends pg.QueryResultRow = pg.QueryResultRow>(text: string): Promise<T[]>;
  /** A copy of its files as of now: a standby that follows it, or a server of its own as a backup gives one. */
  copy(as: 'standby' | 'restored'): Promise<CopiedPostgres>;
  /** As a machine that loses its power. */
  kill(): Promise<void>;
  /** With its data. */
  stop(): Promise<void>;
}

const secrets = randomSecrets();
const run = promisify(execFile);

export async function startCopiedPostgres(): Promise<CopiedPostgres> {
  const place = await newPlace();
  await postgres.prepare(place);
  return await start(place);
}

async function newPlace(): Promise<Place> {
  const dir = mkdtempSync(join(tmpdir(), 'deltaferry-postgres-'));
  // As root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  const [port = 0] = await freePorts(1);
  return {
    dir,
    engine: '',
    ports: { kafka: 0, controller: 0, registry: 0, warehouse: 0, postgres: port },
    secrets,
  };
}

async function start(place: Place): Promise<CopiedPostgres> {
  const { file, args, cwd } = await postgres.command(place);
  const small = ['-c', 'shared_buffers=32MB', '-c', 'max_connections=60'];
  const account = serverAccount();
  const child = spawn(file, [...args, ...small], { cwd, stdio: ['ignore', 'ignore', 'pipe'], ...account });
  const ended = once(child, 'exit');
  const quit = (): void => void child.kill('SIGQUIT');
  process.once('exit', quit);
  const said = heard(child);
  const cluster = join(postgresHome(place.dir), 'cluster');
  const url = `postgres://postgres:${secrets.postgresPassword}@127.0.0.1:${place.ports.postgres}/postgres`;

  async function kill(): Promise<void> {
    quit();
    await ended;
    process.off('exit', quit);
  }

  async function stop(): Promise<void> {
    await kill();
    await rm(postgresHome(place.dir), { recursive: true, force: true });
    await rm(place.dir, { recursive: true, force: true });
  }

  async function sql<T extends pg.QueryResultRow>(text: string): Promise<T[]> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<T>(text)).rows;
    } finally {
      await client.end();
    }
  }

  async function copy(as: 'standby' | 'restored'): Promise<CopiedPostgres> {
    const made = await newPlace();
    const target = join(postgresHome(made.dir), 'cluster');
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      // The label belongs to the session that began the backup.
      await client.query(`SELECT pg_backup_start('copy', true)`);
      await run('cp', ['-a', cluster, target]);
      const { rows } = await client.query<{ labelfile: string }>(
        'SELECT labelfile FROM pg_backup_stop(false)',
      );
      await run('cp', ['-a', `${cluster}/pg_wal/.`, join(target, 'pg_wal')]);
      const files = [['backup_label', rows[0]!.labelfile]];
      if (as === 'standby') files.push(['standby.signal', '']);
      for (const [name, text] of files as [string, string][]) {
        writeFileSync(join(target, name), text);
        if (account !== undefined) giveTo(account, join(target, name));
      }
    } finally {
      await client.end();
    }
    await rm(join(target, 'postmaster.pid'), { force: true });
    const server = await start(made);
    if (as === 'standby') {
      const from = `host=127.0.0.1 port=${place.ports.postgres} user=postgres password=${secrets.postgresPassword}`;
      await server.sql(`ALTER SYSTEM SET primary_conninfo = '${from}'`);
      await server.sql('SELECT pg_reload_conf()');
    }
    return server;
  }

  try {
    await untilPostgresAnswers(child, place);
  } catch (error) {
    await stop();
    throw new Error(`Postgres did not start:\n${said()}`, { cause: error });
  }
  return { url, sql, copy, kill, stop };
}

function heard(child: ChildProcess): () => string {
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
  return () => said;
}
