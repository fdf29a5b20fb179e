import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Place } from '../../src/stack/part.ts';
import { freePorts } from '../../src/stack/ports.ts';
import { giveTo, postgresHome, serverAccount } from '../../src/stack/postgres-account.ts';
import { postgres } from '../../src/stack/postgres.ts';
import { randomSecrets } from '../../src/stack/secrets.ts';
import type { Certificate } from './certificate.ts';
import { untilPostgresAnswers } from './postgres-answers.ts';

/** A Postgres of a test's own that speaks TLS to whoever asks for it, and refuses the role `ferry` without. */
export interface OwnPostgres {
  /** Of the superuser. */
  readonly url: string;
  /** PEM file of the authority behind its certificate. */
  readonly caFile: string;
  stop(): Promise<void>;
}

export async function startTlsPostgres(make: (dir: string) => Promise<Certificate>): Promise<OwnPostgres> {
  const dir = mkdtempSync(join(tmpdir(), 'deltaferry-postgres-'));
  // Everybody may enter it: as root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  const [port = 0] = await freePorts(1);
  const secrets = randomSecrets();
  const ports = { kafka: 0, controller: 0, registry: 0, warehouse: 0, postgres: port };
  const place: Place = { dir, engine: '', ports, secrets };
  const { certFile, keyFile } = await make(dir);
  const account = serverAccount();
  if (account !== undefined) giveTo(account, keyFile);
  await postgres.prepare(place);
  const hba = join(dir, 'hba.conf');
  const rules = ['hostnossl all ferry 127.0.0.1/32 reject', 'host all all 127.0.0.1/32 scram-sha-256'];
  writeFileSync(hba, `${rules.join('\n')}\n`);
  const { file, args, cwd } = await postgres.command(place);
  const tls = { ssl: 'on', ssl_cert_file: certFile, ssl_key_file: keyFile, hba_file: hba };
  const options = Object.entries(tls).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const child = spawn(file, [...args, ...options], { cwd, stdio: ['ignore', 'ignore', 'pipe'], ...account });
  const ended = once(child, 'exit');
  const quit = (): void => void child.kill('SIGQUIT');
  process.once('exit', quit);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));

  async function stop(): Promise<void> {
    // Its data goes with it.
    quit();
    await ended;
    process.off('exit', quit);
    await rm(postgresHome(dir), { recursive: true, force: true });
    await rm(dir, { recursive: true, force: true });
  }

  try {
    await untilPostgresAnswers(child, place);
  } catch (error) {
    await stop();
    throw new Error(`Postgres did not start:\n${said}`, { cause: error });
  }
  return {
    url: `postgres://postgres:${secrets.postgresPassword}@127.0.0.1:${port}/postgres`,
    caFile: certFile,
    stop,
  };
}
