import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKafka } from '../../src/connections/kafka/client.ts';
import { engineFolders } from '../../src/stack/engines.ts';
import { javaTool } from '../../src/stack/java.ts';
import { answers as listens, freePorts } from '../../src/stack/ports.ts';
import { run } from '../../src/stack/processes.ts';
import { until } from './until.ts';

export interface Listener {
  readonly name: string;
  readonly protocol: 'PLAINTEXT' | 'SASL_PLAINTEXT' | 'SASL_SSL';
  /** Given the port it listens on, answers the one that clients are told: that of a proxy, say. */
  readonly advertise?: (port: number) => Promise<number>;
}

/** A Kafka broker of a test's own, with listeners that the shared one does not have. */
export interface OwnBroker {
  /** `127.0.0.1:port` of the plain listener that every such broker has. */
  readonly plain: string;
  /** What clients are told for the listener of this name. */
  readonly address: (listener: string) => string;
  stop(): Promise<void>;
}

export interface BrokerOptions {
  readonly listeners: readonly Listener[];
  /** Lines of server.properties beside those of a single node. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Stored as SCRAM-SHA-512 and SCRAM-SHA-256 credentials. */
  readonly scramUsers?: readonly { readonly name: string; readonly password: string }[];
  /** Of several brokers: which one this is, and the controller that all of them have. */
  readonly node?: { readonly id: number; readonly controller: number; readonly isController: boolean };
}

export async function startBroker(options: BrokerOptions): Promise<OwnBroker> {
  const engine = (await engineFolders(['kafka'], () => undefined)).kafka ?? '';
  const dir = mkdtempSync(join(tmpdir(), 'deltaferry-broker-'));
  const listeners: readonly Listener[] = [{ name: 'INTERNAL', protocol: 'PLAINTEXT' }, ...options.listeners];
  const [free = 0, ...ports] = await freePorts(listeners.length + 1);
  const { id, controller, isController } = options.node ?? { id: 1, controller: free, isController: true };
  const advertised = await Promise.all(
    listeners.map(async ({ advertise }, at) => (await advertise?.(ports[at]!)) ?? ports[at]!),
  );
  const list = (numbers: readonly number[]): string =>
    listeners.map(({ name }, at) => `${name}://127.0.0.1:${numbers[at]}`).join(',');
  const file = join(dir, 'server.properties');
  const settings: Record<string, string> = {
    'process.roles': isController ? 'broker,controller' : 'broker',
    'node.id': String(id),
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: list(ports) + (isController ? `,CONTROLLER://127.0.0.1:${controller}` : ''),
    'advertised.listeners': list(advertised),
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': [...listeners, { name: 'CONTROLLER', protocol: 'PLAINTEXT' }]
      .map(({ name, protocol }) => `${name}:${protocol}`)
      .join(','),
    'inter.broker.listener.name': 'INTERNAL',
    'log.dirs': join(dir, 'data'),
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '1',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '500',
    ...options.settings,
  };
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([key, value]) => `${key}=${value.replaceAll('\\', '\\\\')}\n`)
      .join(''),
    { mode: 0o600 },
  );
  const java = [
    `-Dlog4j2.configurationFile=${join(engine, 'log4j2.xml')}`,
    '-cp',
    join(engine, 'target', 'jars', '*'),
  ];
  const scram = (options.scramUsers ?? []).flatMap(({ name, password }) =>
    ['SCRAM-SHA-512', 'SCRAM-SHA-256'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${name},password=${password}]`,
    ]),
  );
  const format = ['--cluster-id=deltaferry-tests-000000', '--config', file, ...scram];
  await run(javaTool('java'), ['-Xmx128m', ...java, 'kafka.tools.StorageTool', 'format', ...format]);

  // What an earlier stack has left: it halves the start.
  const archive = join(engine, 'classes.jsa');
  const flags = existsSync(archive)
    ? [`-XX:SharedArchiveFile=${archive}`, '-Xlog:cds=off', '-Xlog:cds+dynamic=off']
    : [];
  const child = spawn(
    javaTool('java'),
    [
      '-Xms128m',
      '-Xmx384m',
      '-XX:+UseG1GC',
      '-XX:TieredStopAtLevel=1',
      ...flags,
      ...java,
      'kafka.Kafka',
      file,
    ],
    { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = once(child, 'exit');
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
  const plain = `127.0.0.1:${ports[0]}`;

  async function stop(): Promise<void> {
    // Its data goes with it.
    kill();
    await ended;
    process.off('exit', kill);
    rmSync(dir, { recursive: true, force: true });
  }

  try {
    await until(
      'the broker to answer',
      async () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
        return (await listens(ports[0]!)) && answers(plain);
      },
      { timeoutMs: 60_000 },
    );
  } catch (error) {
    await stop();
    throw new Error(`the broker did not start:\n${said}`, { cause: error });
  }
  return {
    plain,
    address(listener) {
      const at = listeners.findIndex(({ name }) => name === listener);
      return `127.0.0.1:${advertised[at]}`;
    },
    stop,
  };
}

async function answers(broker: string): Promise<boolean> {
  const admin = openKafka({ clientId: 'deltaferry-tests', brokers: [broker] }).admin();
  try {
    await admin.connect();
    return (await admin.describeCluster()).brokers.length > 0;
  } finally {
    await admin.disconnect();
  }
}
