import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { mendRequestQueue } from '../connections/kafka/kafkajs-mends.ts';
import { extraFlags, javaFlags, javaTool, keepClassArchive, prepareJava } from './java.ts';
import type { Part, Place } from './part.ts';
import { answers } from './ports.ts';
import { run } from './processes.ts';

/** One KRaft node, broker and controller in one process. */
export const kafka: Part = {
  name: 'kafka',
  ports: ['kafka', 'controller'],
  needsEngine: true,
  stopSignal: 'SIGTERM',

  async prepare(place) {
    await prepareJava(place);
    writeFileSync(settingsFile(place), settings(place));
    if (existsSync(join(place.dir, 'data', 'meta.properties'))) return;
    const format = [
      'format',
      // In one word: an id may begin with a dash, which would make it an option.
      `--cluster-id=${randomBytes(16).toString('base64url')}`,
      '--config',
      settingsFile(place),
      '--ignore-formatted',
    ];
    await run(javaTool('java'), [
      '-Xmx128m',
      ...logging(place),
      '-cp',
      jars(place),
      'kafka.tools.StorageTool',
      ...format,
    ]);
  },

  command(place) {
    const heap = ['-Xms128m', '-Xmx512m', '-XX:+UseG1GC'];
    return Promise.resolve({
      file: javaTool('java'),
      args: [
        ...heap,
        ...javaFlags(place),
        ...extraFlags('BROKER'),
        ...logging(place),
        '-cp',
        jars(place),
        'kafka.Kafka',
        settingsFile(place),
      ],
      cwd: place.dir,
    });
  },

  async ready(place) {
    if (!(await answers(place.ports.kafka))) throw new Error('nothing listens on its port yet');
    mendRequestQueue();
    const client = new Kafka({
      clientId: 'deltaferry-stack',
      brokers: [`127.0.0.1:${place.ports.kafka}`],
      connectionTimeout: 2000,
      requestTimeout: 5000,
      logLevel: logLevel.NOTHING,
      retry: { retries: 0 },
    });
    const admin = client.admin();
    try {
      await admin.connect();
      const { brokers } = await admin.describeCluster();
      if (brokers.length === 0) throw new Error('the broker has not joined its cluster yet');
    } finally {
      await admin.disconnect();
    }
  },

  ended: keepClassArchive,
};

const settingsFile = (place: Place): string => join(place.dir, 'server.properties');
const jars = (place: Place): string => join(place.engine, 'target', 'jars', '*');
const logging = (place: Place): string[] => [
  `-Dlog4j2.configurationFile=${join(place.engine, 'log4j2.xml')}`,
];

/** One replica of everything, and groups that form and fail over at once: a laptop's settings, not a cluster's. */
function settings({ dir, ports }: Place): string {
  const lines = {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${ports.controller}`,
    listeners: `PLAINTEXT://127.0.0.1:${ports.kafka},CONTROLLER://127.0.0.1:${ports.controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${ports.kafka}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    // A backslash starts an escape in a properties file.
    'log.dirs': join(dir, 'data').replaceAll('\\', '\\\\'),
    'num.network.threads': '2',
    'num.io.threads': '4',
    'auto.create.topics.enable': 'false',
    'log.cleaner.enable': 'true',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'share.coordinator.state.topic.num.partitions': '4',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '500',
    // A killed broker may come back once its old session is over: 9 s by default.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '300',
  };
  return Object.entries(lines)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');
}
