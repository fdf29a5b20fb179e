import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import type { Part } from './part.ts';
import { answers } from './ports.ts';
import { giveTo, postgresBinaries, postgresHome, serverAccount } from './postgres-account.ts';
import { commandLine, run } from './processes.ts';

/** The server that npm ships. It refuses to run as root: then it runs as `nobody` (see postgres-account.ts). */
export const postgres: Part = {
  name: 'postgres',
  ports: ['postgres'],
  needsEngine: false,
  // "Fast": clients are cut off and everything is written; its SIGTERM would wait for them to leave.
  stopSignal: 'SIGINT',

  async prepare(place) {
    const home = postgresHome(place.dir);
    const cluster = join(home, 'cluster');
    if (existsSync(join(cluster, 'PG_VERSION'))) {
      removeStalePid(cluster);
      return;
    }
    const unfinished = join(home, 'cluster.new');
    await rm(unfinished, { recursive: true, force: true });
    const account = serverAccount();
    const passwordFile = join(home, 'password');
    writeFileSync(passwordFile, place.secrets.postgresPassword, { mode: 0o600 });
    try {
      const locale = [
        '--encoding=UTF8',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        '--locale=C',
      ];
      const login = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
      const initdb = join(postgresBinaries(), 'bin', 'initdb');
      if (account !== undefined) giveTo(account, passwordFile);
      await run(initdb, ['--pgdata', unfinished, ...locale, ...login, '--no-sync'], { cwd: '/', ...account });
    } finally {
      rmSync(passwordFile, { force: true });
    }
    renameSync(unfinished, cluster);
  },

  command(place) {
    const settings = {
      port: place.ports.postgres,
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      wal_level: 'logical',
      max_connections: 200,
      shared_buffers: '256MB',
      max_wal_size: '2GB',
      checkpoint_timeout: '15min',
      log_line_prefix: '%m [%p] ',
    };
    const options = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
    const account = serverAccount();
    return Promise.resolve({
      file: join(postgresBinaries(), 'bin', 'postgres'),
      args: ['-D', join(postgresHome(place.dir), 'cluster'), ...options],
      cwd: '/',
      ...(account === undefined ? {} : { account }),
    });
  },

  async ready(place) {
    if (!(await answers(place.ports.postgres))) throw new Error('nothing listens on its port yet');
    const client = new pg.Client({
      host: '127.0.0.1',
      port: place.ports.postgres,
      user: 'postgres',
      password: place.secrets.postgresPassword,
      database: 'postgres',
      connectionTimeoutMillis: 5000,
    });
    // A connection that breaks while it is being closed is none of our concern.
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('SELECT 1');
    } finally {
      await client.end();
    }
  },

  async wipe(place) {
    await rm(postgresHome(place.dir), { recursive: true, force: true });
  },
};

/**
 * Postgres refuses to start while the pid in this file is alive. The part is known not to run, so a living process
 * of that pid is a stranger unless it serves this very folder.
 */
function removeStalePid(cluster: string): void {
  const file = join(cluster, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  if (!commandLine(pid).includes(cluster)) rmSync(file, { force: true });
}
