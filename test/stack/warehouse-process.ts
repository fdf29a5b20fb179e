import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { DBSQLClient, type DBSQLSession } from '@databricks/sql';
import { engineFolders } from '../../src/stack/engines.ts';

type Client = Awaited<ReturnType<DBSQLClient['connect']>>;
type StatementOptions = NonNullable<Parameters<DBSQLSession['executeStatement']>[1]>;
export type Session = Awaited<ReturnType<Client['openSession']>>;
export type Operation = Awaited<ReturnType<Session['executeStatement']>>;
export type Row = Record<string, unknown>;

/** A local warehouse of its own in a temporary folder: the JVM that the stack starts, on a free port. */
export type Warehouse = {
  /** Everything the warehouse keeps, for looking at its files. */
  home: string;
  port: () => number;
  ca: Buffer;
  /** A session of a new client, both closed at the end; `token` other than the right one is for tests of refusal. */
  session: (options?: {
    token?: string;
    schema?: string;
    configuration?: Record<string, string>;
  }) => Promise<Session>;
  /** SIGTERM, the end, and a new process on the same folder; resolves with how the old one ended. */
  restart: () => Promise<number | NodeJS.Signals | null>;
  stop: () => Promise<void>;
};

const startDeadlineMs = 60_000;

export async function startWarehouse(): Promise<Warehouse> {
  const { warehouse: engine } = await engineFolders(['warehouse'], () => undefined);
  assert.ok(engine !== undefined);
  const home = await mkdtemp(join(tmpdir(), 'deltaferry-warehouse-'));
  const token = 'test-token';
  const ca = await makeKeystore(home);
  const clients: Client[] = [];
  let running = await startProcess(engine, home, token);

  const closeClients = async (): Promise<void> => {
    await Promise.allSettled(clients.splice(0).map((client) => client.close()));
  };
  return {
    home,
    port: () => running.port,
    ca,
    async session(options = {}) {
      const client = new DBSQLClient({ logger: { log: () => undefined } });
      client.on('error', () => undefined); // said again by the rejection
      clients.push(client);
      await client.connect({
        host: 'localhost',
        port: running.port,
        path: '/sql/1.0/warehouses/local',
        token: options.token ?? token,
        customCaCert: ca,
        telemetryEnabled: false,
        preserveBigNumericPrecision: true,
      });
      return client.openSession({
        ...(options.schema === undefined ? {} : { initialSchema: options.schema }),
        configuration: options.configuration ?? {},
      });
    },
    async restart() {
      await closeClients();
      const end = await running.stop();
      running = await startProcess(engine, home, token);
      return end;
    },
    async stop() {
      await closeClients();
      await running.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** All rows of a statement. */
export async function rows(session: Session, sql: string, options: StatementOptions = {}): Promise<Row[]> {
  const operation = await session.executeStatement(sql, options);
  try {
    return (await operation.fetchAll()) as Row[];
  } finally {
    await operation.close();
  }
}

type Running = { port: number; stop: () => Promise<number | NodeJS.Signals | null> };

async function startProcess(engine: string, home: string, token: string): Promise<Running> {
  const flags = ['-XX:TieredStopAtLevel=1', '-Xmx1g', `@${join(engine, 'jvm.options')}`];
  const archive = join(engine, 'classes.jsa'); // left by an earlier stack: it halves the start
  if (existsSync(archive)) flags.push(`-XX:SharedArchiveFile=${archive}`);
  const own = [`-Ddw.home=${home}`, `-Ddw.keystore=${join(home, 'keystore.p12')}`];
  const classPath = `${join(engine, 'target/warehouse.jar')}:${join(engine, 'target/jars/*')}`;
  const child = spawn('java', [...flags, ...own, '-cp', classPath, 'deltaferry.warehouse.Main'], {
    env: { ...process.env, DW_TOKEN: token, DW_KEYSTORE_PASSWORD: 'changeit' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('exit', (code, signal) => {
      process.off('exit', kill);
      resolve(code ?? signal);
    }),
  );
  const port = await readyPort(child);
  return {
    port,
    stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

function readyPort(child: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let said = '';
  const deadline = setTimeout(() => {
    child.kill('SIGKILL');
    reject(new Error(`the warehouse is not ready after ${startDeadlineMs} ms:\n${said}`));
  }, startDeadlineMs);
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  child.once('error', reject);
  child.once('exit', (code) => reject(new Error(`the warehouse ended with ${code}:\n${said}`)));
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const ready = /^READY https:\/\/localhost:(\d+)$/.exec(line);
    clearTimeout(deadline);
    if (ready === null) reject(new Error(`not the READY line: ${line}`));
    else resolve(Number(ready[1]));
  });
  return promise.finally(() => clearTimeout(deadline));
}

async function makeKeystore(home: string): Promise<Buffer> {
  const run = promisify(execFile);
  const store = ['-alias', 'test', '-storetype', 'PKCS12', '-storepass', 'changeit'];
  const file = ['-keystore', join(home, 'keystore.p12')];
  const key = ['-keyalg', 'EC', '-groupname', 'secp256r1', '-dname', 'CN=localhost'];
  await run('keytool', ['-genkeypair', ...store, ...file, ...key, '-ext', 'SAN=dns:localhost,ip:127.0.0.1']);
  const certificate = join(home, 'ca.pem');
  await run('keytool', ['-exportcert', '-rfc', ...store, ...file, '-file', certificate]);
  return readFile(certificate);
}
