import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { topicsAdmin } from '../../src/connections/kafka/admin.ts';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { openKafka, type KafkaOptions } from '../../src/connections/kafka/client.ts';
import { translatePostgres } from '../../src/connections/postgres/errors.ts';
import { openPool, type PostgresTls } from '../../src/connections/postgres/pool.ts';
import { createSchemaRegistry, type RegistryOptions } from '../../src/connections/registry/schemas.ts';
import { DeltaferryError, describeError } from '../../src/errors.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { kafkaOptions } from '../../src/service/connect.ts';
import { listDeadLetters } from '../../src/service/dead-letters.ts';
import { setupTables } from '../../src/service/setup.ts';
import { bothSides } from '../support/both-sides.ts';
import { startBroker, type OwnBroker } from '../support/broker.ts';
import { makeCertificate, type Certificate } from '../support/certificate.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { endsWell } from '../support/ends-well.ts';
import { isPublished } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { documentedGrants, grant, revoke } from '../support/kafka-grants.ts';
import { startTlsPostgres, type OwnPostgres } from '../support/postgres-server.ts';
import { QUICK, startService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { testStack } from '../support/stack.ts';
import { assertPublished, committedRecords } from '../support/topic-check.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';
import { loadWithoutTrouble } from '../support/load-here.ts';

const USER = 'ferry';
const PASSWORD = 'right-geheim';
const WRONG = 'wrong-geheim';
/** Each has what docs/OPERATIONS.md grants it in Kafka, and nothing else. */
const GRANTED = { setup: 'ferry-setup', run: 'ferry-run' };
const LIMIT = { timeout: 300_000 };
const LISTENER = 'listener.name.secure.';

describe('connections with TLS and logins', () => {
  const later = undoing();
  const dir = later(mkdtempSync(join(tmpdir(), 'deltaferry-secure-')), (made) =>
    rmSync(made, { recursive: true, force: true }),
  );
  let own: Certificate;
  let strangers: Certificate;
  let broker: OwnBroker;
  let postgres: OwnPostgres;
  let registryUrl: string;

  before(async () => {
    [own, strangers] = await Promise.all([makeCertificate(dir, 'own'), makeCertificate(dir, 'strangers')]);
    await Promise.all([
      startSecureBroker().then((made) => (broker = later(made, ({ stop }) => stop()))),
      startTlsPostgres((place) => makeCertificate(place, 'postgres')).then(
        (made) => (postgres = later(made, ({ stop }) => stop())),
      ),
      startSecureRegistry().then((url) => (registryUrl = url)),
    ]);
  });

  function startSecureBroker(): Promise<OwnBroker> {
    const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
    const plain = 'org.apache.kafka.common.security.plain.PlainLoginModule required';
    const plainUsers = [USER, ...Object.values(GRANTED)]
      .map((name) => `user_${name}="${PASSWORD}"`)
      .join(' ');
    return startBroker({
      listeners: [{ name: 'SECURE', protocol: 'SASL_SSL' }],
      scramUsers: [{ name: USER, password: PASSWORD }],
      settings: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': `User:ANONYMOUS;User:${USER}`,
        [`${LISTENER}ssl.keystore.location`]: own.keystore,
        [`${LISTENER}ssl.keystore.type`]: 'PKCS12',
        [`${LISTENER}ssl.keystore.password`]: own.password,
        [`${LISTENER}sasl.enabled.mechanisms`]: 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
        [`${LISTENER}plain.sasl.jaas.config`]: `${plain} ${plainUsers};`,
        [`${LISTENER}scram-sha-256.sasl.jaas.config`]: scram,
        [`${LISTENER}scram-sha-512.sasl.jaas.config`]: scram,
      },
    });
  }

  /** The real registry behind HTTPS and a login. */
  async function startSecureRegistry(): Promise<string> {
    const real = new URL(testStack().registry.url);
    const allowed = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;
    const server = createServer({ cert: own.pem, key: readFileSync(own.keyFile) }, (request, response) => {
      if (request.headers.authorization !== allowed) return void response.writeHead(401).end();
      fetch(new URL(request.url ?? '/', real), { method: request.method ?? 'GET' }).then(
        async (found) =>
          response.writeHead(found.status, { 'content-type': 'application/json' }).end(await found.text()),
        () => response.writeHead(502).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    later(server, () => {
      server.closeAllConnections();
      server.close();
    });
    return `https://localhost:${(server.address() as AddressInfo).port}${real.pathname}`;
  }

  const sasl = (password = PASSWORD, mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512' = 'plain') => ({
    mechanism,
    username: USER,
    password,
  });
  const kafka = (options: Pick<KafkaOptions, 'tls' | 'sasl'>) =>
    openKafka({ clientId: 'test', brokers: [broker.address('SECURE')], ...options });

  it('the service runs over all of them, as the configuration says', LIMIT, async () => {
    const stack = testStack();
    const site = later(
      await openSite({
        prefix: 'secure',
        endpoints: { ...stack, kafka: { brokers: [broker.plain] }, postgres },
      }),
      (made) => made.drop(),
    );
    const settings = {
      'kafka.brokers': broker.address('SECURE'),
      'kafka.tls.caFile': own.certFile,
      'kafka.sasl.mechanism': 'scram-sha-512',
      'kafka.sasl.username': USER,
      'kafka.sasl.password': PASSWORD,
      'registry.url': registryUrl,
      'registry.caFile': own.certFile,
      'registry.auth.username': USER,
      'registry.auth.password': PASSWORD,
      'postgres.tls.caFile': postgres.caFile,
    };
    const set = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
    const worker = later(startWorker(['--config', site.configFile, ...set]), (made) => made.kill());
    const { warehouse, deltaTable: table } = site;
    const commits = createDeltaCommits({ warehouse, table, seed: 7 });
    await commits.mixed();
    await commits.large(2000);
    await until('the commits to be published', () => isPublished(worker.lines, commits.version));
    await caughtUp(site, 60_000);
    const { rows } = await site.pool.query<{ ssl: boolean; n: string }>(
      `SELECT ssl, count(*) AS n FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
       WHERE application_name LIKE 'deltaferry %/%' GROUP BY ssl`,
    );
    assert.deepEqual(
      rows.map(({ ssl }) => ssl),
      [true],
    );
    await endsWell(worker);
    await assertHistory(site, await assertPublished(site, commits, 'secure'), 'secure');
    assert.ok(!worker.lines.some((line) => JSON.stringify(line).includes(PASSWORD)));
  });

  for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'] as const)
    it(`Kafka with ${mechanism}: topics, transactions and reading`, LIMIT, async () => {
      const client = kafka({ tls: { ca: own.pem }, sasl: sasl(PASSWORD, mechanism) });
      const [topic, positionsTopic, deadLetterTopic] = ['changes', 'positions', 'dead'].map(
        (name) => `${mechanism}.${name}`,
      ) as [string, string, string];
      const admin = topicsAdmin(client);
      await admin.create(
        [topic, positionsTopic, deadLetterTopic].map((name) => ({ topic: name, partitions: 1, config: {} })),
      );
      assert.equal((await admin.describe([topic])).get(topic)?.partitions, 1);
      await admin.close();
      const log = createChangeLog({
        kafka: client,
        producerName: 'test',
        table: 't',
        topic,
        partitions: 1,
        deadLetterTopic,
        positionsTopic,
        encode: ({ key }) => Buffer.from(key),
      });
      try {
        assert.equal(await log.open(), null);
        const change = {
          op: 'insert' as const,
          before: null,
          after: [],
          origin: 'delta',
          table: 't',
          position: 1,
          ts: 0,
          tx: null,
          load: null,
        };
        const changes = ['a', 'b'].map((key) => ({ ...change, key }));
        await log.publish({ changes, rejected: [], position: { version: 1 } });
      } finally {
        await log.close();
      }
      const read = (await committedRecords(client, topic)).get(0) ?? [];
      assert.deepEqual(
        read.map(({ value }) => Buffer.from(value!).toString()),
        ['a', 'b'],
      );
    });

  it('the Kafka grants of docs/OPERATIONS.md are enough for setup, run and a load', LIMIT, async () => {
    const endpoints = { ...testStack(), kafka: { brokers: [broker.plain] } };
    const site = later(
      await openSite({ prefix: 'granted', direction: 'both', partitions: 1, endpoints, settings: QUICK }),
      (made) => made.drop(),
    );
    const [setupConfig, config] = [secureConfig(site, GRANTED.setup), secureConfig(site, GRANTED.run)];
    const table = config.tables[0]!;
    const grants = documentedGrants(config);
    for (const who of ['setup', 'run'] as const) await grant(site.kafka, GRANTED[who], grants[who]);

    // The second one looks at what the first has made.
    for (const applied of [true, false]) {
      const result = await setupTables(setupConfig);
      assert.deepEqual([result.outcome, result.applied], ['done', applied]);
    }
    const service = later(await startService(config), (made) => made.stop());
    const sides = bothSides(site);
    await Promise.all([
      sides.inDelta.upsert({ id: 1, name: 'of Delta', salary: '1.00' }),
      sides.inPostgres.upsert({ id: 2, name: 'of Postgres', salary: '2.00' }),
    ]);
    await sides.equal();
    await sendGarbage(table.topic);
    await until(
      'both sinks to have written a dead letter',
      async () => (await listDeadLetters(config, table, 10)).letters.length === 2,
    );
    assert.equal((await loadWithoutTrouble(config, { from: 'delta' })).rows, 2);
    await service.stop();
    const denied = service.lines.map((line) => JSON.stringify(line)).filter((line) => /authoriz/i.test(line));
    assert.deepEqual(denied, []);

    const describing = grants.run.filter(({ operation }) => operation === 'DescribeConfigs');
    assert.equal(describing.length, 2);
    await revoke(site.kafka, GRANTED.run, describing);
    const admin = later(topicsAdmin(openKafka(kafkaOptions(config))), (made) => made.close());
    for (const { name } of describing)
      await refused(admin.describe([name]), {
        code: 'KAFKA_DENIED',
        remedy: new RegExp(`Describe and DescribeConfigs on ${name}\\.$`),
      });
  });

  /** The site's, with topics that nobody has made yet, as this user. */
  function secureConfig({ name, config }: Site, username: string): Config {
    const prefix = `${name}.new`;
    return {
      ...config,
      tables: [{ ...config.tables[0]!, topic: `${prefix}_changes`, backfillTopic: `${prefix}_backfill` }],
      topics: { ...config.topics, positions: `${prefix}.positions` },
      kafka: {
        ...config.kafka,
        brokers: [broker.address('SECURE')],
        tls: { enabled: true, rejectUnauthorized: true, caFile: own.certFile },
        sasl: { ...sasl(), username },
      },
    };
  }

  async function sendGarbage(topic: string): Promise<void> {
    const producer = openKafka({ clientId: 'test', brokers: [broker.plain] }).producer();
    await producer.connect();
    await producer.send({ topic, messages: [{ key: '1', value: 'no change' }] });
    await producer.disconnect();
  }

  async function refused(
    work: Promise<unknown>,
    expected: { readonly code: string; readonly remedy: RegExp; readonly kind?: string },
  ): Promise<void> {
    const error = await work.then(
      () => assert.fail('it went through'),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof DeltaferryError, describeError(error));
    assert.deepEqual([error.kind, error.code], [expected.kind ?? 'operator', expected.code], error.message);
    assert.match(error.remedy ?? '', expected.remedy);
    assert.doesNotMatch(`${describeError(error)} ${error.stack} ${JSON.stringify(error)}`, /geheim/);
  }

  describe('Kafka refuses, and says what to mend', () => {
    const describing = async (
      options: Pick<KafkaOptions, 'tls' | 'sasl'>,
      address?: string,
    ): Promise<void> => {
      const client =
        address === undefined
          ? kafka(options)
          : openKafka({ clientId: 'test', brokers: [address], ...options });
      const admin = topicsAdmin(client);
      try {
        await admin.describe(['none']);
      } finally {
        await admin.close();
      }
    };
    it('a wrong password', async () => {
      for (const mechanism of ['plain', 'scram-sha-512'] as const)
        await refused(describing({ tls: { ca: own.pem }, sasl: sasl(WRONG, mechanism) }), {
          code: 'KAFKA_AUTHENTICATION',
          remedy: /Check kafka\.sasl/,
        });
    });
    it('a certificate of an authority that is not known', async () => {
      for (const tls of [{ ca: strangers.pem }, {}])
        await refused(describing({ tls, sasl: sasl() }), {
          code: 'KAFKA_TLS',
          remedy: /kafka\.tls \(caFile/,
        });
    });
    it('no TLS where there must be', async () => {
      await refused(describing({ sasl: sasl() }), { code: 'KAFKA_TLS', remedy: /kafka\.tls\.enabled/ });
    });
    it('a login where none is taken', async () => {
      await refused(describing({ sasl: sasl() }, broker.plain), {
        code: 'KAFKA_AUTHENTICATION',
        remedy: /Leave out kafka\.sasl/,
      });
    });
    // A broker that is being stopped looks the same: it is tried again, with a word on what it may be.
    it('no login where there must be', async () => {
      await refused(describing({ tls: { ca: own.pem } }), {
        kind: 'transient',
        code: 'KAFKA_UNAVAILABLE',
        remedy: /kafka\.sasl/,
      });
    });
  });

  describe('Postgres refuses, and says what to mend', () => {
    const asking = async ({
      url,
      tls,
    }: {
      readonly url?: string;
      readonly tls?: PostgresTls;
    }): Promise<void> => {
      const pool = openPool({ url: url ?? postgres.url, tls, maxConnections: 1 });
      try {
        await pool.query('SELECT 1').catch((error: unknown) => {
          throw translatePostgres(error, 'connecting');
        });
      } finally {
        await pool.end();
      }
    };
    const as = (user: string, password: string): string => {
      const url = new URL(postgres.url);
      [url.username, url.password] = [user, password];
      return url.href;
    };

    before(async () => {
      const pool = openPool({ url: postgres.url });
      await pool.query(`CREATE ROLE ${USER} LOGIN PASSWORD '${PASSWORD}'`);
      await pool.end();
    });
    it('not whom it knows, with its own authority', async () => {
      await asking({ url: as(USER, PASSWORD), tls: { ca: readFileSync(postgres.caFile, 'utf8') } });
    });
    it('a certificate of an authority that is not known', async () => {
      for (const tls of [{ ca: strangers.pem }, {}])
        await refused(asking({ url: as(USER, PASSWORD), tls }), {
          code: 'POSTGRES_LOGIN',
          remedy: /postgres\.tls/,
        });
    });
    it('a certificate of another host', async () => {
      const tls = { ca: readFileSync(postgres.caFile, 'utf8'), servername: 'db.example.com' };
      await refused(asking({ url: as(USER, PASSWORD), tls }), {
        code: 'POSTGRES_LOGIN',
        remedy: /postgres\.tls/,
      });
    });
    it('no TLS where there must be', async () => {
      await refused(asking({ url: as(USER, PASSWORD) }), { code: 'POSTGRES_28000', remedy: /postgres\.tls/ });
    });
    it('a wrong password', async () => {
      const tls = { ca: readFileSync(postgres.caFile, 'utf8') };
      await refused(asking({ url: as(USER, WRONG), tls }), {
        code: 'POSTGRES_28P01',
        remedy: /the password/,
      });
    });
  });

  describe('the registry refuses, and says what to mend', () => {
    const asking = async (options: Omit<RegistryOptions, 'url'>): Promise<unknown> => {
      const registry = createSchemaRegistry({ url: registryUrl, ...options });
      try {
        return await registry.latestId('none-such');
      } finally {
        registry.close();
      }
    };
    const auth = { username: USER, password: PASSWORD };
    it('not whom it knows', async () => {
      assert.equal(await asking({ auth, tls: { ca: own.pem } }), null);
    });
    it('a certificate of an authority that is not known', async () => {
      for (const tls of [{ ca: strangers.pem }, {}])
        await refused(asking({ auth, tls }), { code: 'REGISTRY_TLS', remedy: /registry\.caFile/ });
    });
    it('a wrong password, and none', async () => {
      for (const given of [{ auth: { username: USER, password: WRONG } }, {}])
        await refused(asking({ ...given, tls: { ca: own.pem } }), {
          code: 'REGISTRY_DENIED',
          remedy: /registry\.auth/,
        });
    });
  });
});
