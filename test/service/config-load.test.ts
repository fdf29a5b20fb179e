import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  loadConfig,
  loadSection,
  locateConfig,
  parseConfig,
  type LoadOptions,
} from '../../src/service/config/load.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { mappingOf } from '../../src/service/config/table-schema.ts';
import { CONNECTIONS, STACK_JSON, TABLES, inFolder } from './config-cases.ts';

interface Case {
  readonly name: string;
  readonly yaml?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly overrides?: NonNullable<LoadOptions['overrides']>;
  readonly options?: LoadOptions;
  readonly expected: (config: Config, dir: string) => readonly (readonly [unknown, unknown])[];
}

/** A platform team would lose: a setting that it wrote is not the one that is used. */
const accepted: readonly Case[] = [
  {
    name: 'defaults are filled in',
    expected: (config) => [
      [config.kafka.clientId, 'deltaferry'],
      [config.kafka.tls, { enabled: false, rejectUnauthorized: true }],
      [config.databricks.port, 443],
      [config.postgres.id, 'postgres'],
      [config.databricks.id, 'delta'],
      [
        config.batching,
        {
          maxChangesPerTransaction: 10_000,
          maxBatchChanges: 8000,
          maxBytesPerPartition: 262_144,
          partitionsConcurrently: 4,
        },
      ],
      [config.tables[0]!.topic, 'employees_changes'],
      [config.tables[0]!.partitions, 8],
      [
        config.tables[0]!.postgres,
        {
          history: 'scd2',
          onDate: 'on_date',
          offDate: 'off_date',
          isActive: 'is_active',
          table: 'public.employees',
        },
      ],
      [config.tables[0]!.delta, { table: 'default.employees' }],
    ],
  },
  {
    name: 'columns as a map and as a list mean the same',
    yaml: `${CONNECTIONS}
tables:
  - { name: a, key: id, columns: { id: int8, pay: "decimal(12,2)" } }
  - { name: b, key: [id], columns: [{ name: id, type: bigint }, { name: pay, type: "numeric(12,2)" }] }
`,
    expected: ({ tables }) => [
      [mappingOf(tables[0]!), { ...mappingOf(tables[1]!), name: 'a' }],
      [mappingOf(tables[1]!).columns[1], { name: 'pay', type: { name: 'numeric', precision: 12, scale: 2 } }],
    ],
  },
  {
    name: 'variables, their defaults and the escape',
    yaml: `${CONNECTIONS.replace('[broker:9092]', '"${BROKERS}"').replace('t0ken', '"${TOKEN:-fallback}"')}${TABLES}
http: { port: "\${PORT}", enabled: "\${HTTP:-false}" }
log: { level: "\${EMPTY:-debug}" }
topics: { positions: pos }
stack: { dir: "a$\${b}c" }
`,
    env: { BROKERS: 'a:1, b:2', PORT: '80', EMPTY: '' },
    expected: (config, dir) => [
      [config.kafka.brokers, ['a:1', 'b:2']],
      [config.databricks.token, 'fallback'],
      [config.http.port, 80],
      [config.http.enabled, false],
      [config.log.level, 'debug'],
      [config.stack.dir, join(dir, 'a${b}c')],
    ],
  },
  {
    name: 'a secret from a file, relative to the configuration, without its newline',
    yaml: `${CONNECTIONS.replace('token: t0ken', 'token: { file: keys/token }').replace('url: postgres://u:pw@db/hr', 'url: { file: "${DIR}/url" }')}${TABLES}`,
    files: { 'keys/token': 'from a file\n', 'keys/url': 'postgres://x:y@z/w' },
    env: { DIR: 'keys' },
    expected: (config) => [
      [config.databricks.token, 'from a file'],
      [config.postgres.url, 'postgres://x:y@z/w'],
    ],
  },
  {
    name: 'environment above the file, flags above the environment',
    yaml: `${CONNECTIONS}${TABLES}http: { port: 1, host: h1 }\nlog: { level: warn }\n`,
    env: {
      DELTAFERRY_HTTP_PORT: '2',
      DELTAFERRY_HTTP_HOST: 'h2',
      DELTAFERRY_KAFKA_CLIENT_ID: 'env',
      DELTAFERRY_KAFKA_BROKERS: 'x:1,y:2',
      DELTAFERRY_LOG_LEVEL: '',
      DELTAFERRY_TEST_STACK: 'not ours',
      DELTAFERRY_HTTP_SERVICE_HOST: '10.0.0.1',
    },
    overrides: { 'http.port': '3', 'http.enabled': false },
    expected: (config) => [
      [config.http, { enabled: false, host: 'h2', port: 3 }],
      [config.kafka.clientId, 'env'],
      [config.kafka.brokers, ['x:1', 'y:2']],
      [config.log.level, 'warn'],
    ],
  },
  {
    name: 'the file of a secret named by the environment',
    env: { DELTAFERRY_DATABRICKS_TOKEN_FILE: 'token.txt' },
    files: { 'token.txt': 'mounted' },
    expected: (config) => [[config.databricks.token, 'mounted']],
  },
  {
    name: 'flags reach into tables, by name and by index',
    overrides: { 'tables.employees.partitions': '12', 'tables[0].delta.table': 'hr.emp' },
    expected: ({ tables }) => [
      [tables[0]!.partitions, 12],
      [tables[0]!.delta.table, 'hr.emp'],
    ],
  },
  {
    name: 'TLS is on once one of its fields is set, and paths are relative to the file',
    yaml: `${CONNECTIONS.replace('[broker:9092]', '[broker:9092], tls: { caFile: ca.pem }')}${TABLES}`,
    files: { 'ca.pem': 'pem' },
    expected: (config, dir) => [
      [config.kafka.tls, { enabled: true, rejectUnauthorized: true, caFile: join(dir, 'ca.pem') }],
      [config.postgres.tls.enabled, false],
    ],
  },
  {
    name: 'the local stack stands in for connections that name no server, and only for those',
    yaml: `registry: { url: http://mine }\nkafka: { clientId: me }\n${TABLES}`,
    files: { '.deltaferry/stack.json': STACK_JSON },
    expected: (config) => [
      [config.kafka.brokers, ['127.0.0.1:1']],
      [config.kafka.clientId, 'me'],
      [config.registry.url, 'http://mine'],
      [config.postgres.url, 'postgres://postgres:stack-secret@127.0.0.1:3/postgres'],
      [config.databricks.token, 'stack-token'],
    ],
  },
  {
    name: 'another folder of the stack, by the file',
    yaml: `stack: { dir: two }\n${TABLES}`,
    files: { 'two/stack.json': STACK_JSON },
    expected: (config) => [[config.kafka.brokers, ['127.0.0.1:1']]],
  },
  {
    name: 'a file named by --config together with a stack named by --stack',
    files: { 'other.yaml': TABLES, 'two/stack.json': STACK_JSON },
    options: { file: 'other.yaml', stackDir: 'two' },
    expected: (config) => [[config.registry.url, 'http://127.0.0.1:2']],
  },
];

for (const {
  name,
  yaml = CONNECTIONS + TABLES,
  files = {},
  env = {},
  overrides = {},
  options = {},
  expected,
} of accepted)
  test(`config: ${name}`, () =>
    inFolder({ 'deltaferry.yaml': yaml, ...files }, async (cwd) => {
      const config = await loadConfig({ cwd, env, overrides, ...options });
      for (const [actual, wanted] of expected(config, cwd)) assert.deepEqual(actual, wanted);
    }));

test('config: without any file, a running stack brings the tables of the package with it', () =>
  inFolder({ '.deltaferry/stack.json': STACK_JSON }, async (cwd) => {
    const { config, stack, connectionsFromStack } = await locateConfig({ cwd, env: {} });
    assert.deepEqual(
      config.tables.map(({ name }) => name),
      ['employees'],
    );
    assert.equal(stack, join(cwd, '.deltaferry'));
    assert.deepEqual(connectionsFromStack, ['kafka', 'registry', 'postgres', 'databricks']);
  }));

test('config: a section alone needs no connection, and no secret of another section', () =>
  inFolder({ 'deltaferry.yaml': `${TABLES}kafka: { sasl: { password: "\${UNSET}" } }` }, async (cwd) => {
    assert.equal((await loadSection('tables', { cwd, env: {} }))[0]!.name, 'employees');
    assert.equal((await loadSection('stack', { cwd: join(cwd, '..'), env: {} })).dir, '.deltaferry');
  }));

test('config: an object is validated as a file is', () => {
  const config = parseConfig({
    kafka: { brokers: ['b:1'] },
    registry: { url: 'http://r' },
    postgres: { url: 'postgres://p/d' },
    databricks: { host: 'h', path: '/p', token: 't' },
    tables: [{ name: 't', key: 'id', columns: [{ name: 'id', type: 'uuid' }] }],
  });
  assert.deepEqual(config.tables[0]!.key, ['id']);
});
