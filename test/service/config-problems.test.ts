import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError } from '../../src/errors.ts';
import { loadConfig, type LoadOptions } from '../../src/service/config/load.ts';
import { ConfigError } from '../../src/service/config/problems.ts';
import { CONNECTIONS, STACK_JSON, TABLES, inFolder } from './config-cases.ts';

interface Case {
  readonly name: string;
  readonly yaml: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly overrides?: NonNullable<LoadOptions['overrides']>;
  /** Every problem, in any order, as `path (source): message`. */
  readonly problems: readonly string[];
}

const table = (rest: string) => `${CONNECTIONS}tables:\n  - ${rest}\n`;
const COLUMNS = 'columns: { id: bigint, name: text }';

/** A platform team would lose: the time to find what is wrong, or a service started on half of its settings. */
const refused: readonly Case[] = [
  {
    name: 'unknown fields, with the nearest of the same section or the place of one with that name',
    yaml: `${CONNECTIONS}${TABLES}brokers: x\nlogs: {}\nhttp: { hots: x, banana: 1 }\n`,
    problems: [
      'brokers (deltaferry.yaml:11): unknown field; did you mean kafka.brokers?',
      'logs (deltaferry.yaml:12): unknown field; did you mean log?',
      'http.hots (deltaferry.yaml:13): unknown field; did you mean host?',
      'http.banana (deltaferry.yaml:13): unknown field',
    ],
  },
  {
    name: 'wrong types say what was found, and missing fields that they are',
    yaml:
      table('{ name: 7, partitions: many, columns: { id: bigint }, postgres: [], key: {} }') +
      'http: { port: 70000 }\nlog: \n',
    problems: [
      'tables[0].name (deltaferry.yaml:7): expected text, got a number (put it in quotes)',
      'tables[0].partitions (deltaferry.yaml:7): expected a number, got text',
      'tables[0].postgres (deltaferry.yaml:7): expected a map, got a list',
      'tables[0].key (deltaferry.yaml:7): expected a list, got a map',
      'http.port (deltaferry.yaml:8): must be at most 65535',
      'log (deltaferry.yaml:9): expected a map, got nothing',
    ],
  },
  {
    name: 'a key column that is absent, twice, or of a type that cannot be a key',
    yaml: `${CONNECTIONS}tables:
  - { name: a, key: [idd, id, id], columns: [{ name: id, type: bigint }, { name: id, type: text }] }
  - { name: b, key: pay, columns: { id: bigint, pay: "numeric(9,2)" } }
`,
    problems: [
      'tables[0].columns[1].name (deltaferry.yaml:7): a second column "id"',
      'tables[0].key[2] (deltaferry.yaml:7): "id" is in the key twice',
      'tables[0].key[0] (deltaferry.yaml:7): "idd" is not among the columns; did you mean id?',
      'tables[1].key (deltaferry.yaml:8): "pay" is numeric, and a key column must be one of bigint, integer, smallint, text, varchar, uuid, date',
    ],
  },
  {
    name: 'column types, in a list and in a map',
    yaml: `${CONNECTIONS}tables:
  - { name: a, key: id, columns: [{ name: id, type: bigint }, { name: x, type: "text[]" }] }
  - { name: b, key: id, columns: { id: bigint, x: 5 } }
`,
    problems: [
      'tables[0].columns[1].type (deltaferry.yaml:7): column type "text[]": arrays and nested types are not supported: use jsonb',
      'tables[1].columns.x (deltaferry.yaml:8): expected text, got a number (put it in quotes)',
    ],
  },
  {
    name: 'names that two tables share',
    yaml: `${CONNECTIONS}topics: { positions: b.dead-letters }
tables:
  - { name: a, topic: b, key: id, ${COLUMNS} }
  - { name: a, key: id, ${COLUMNS} }
  - { name: c, topic: b, key: id, ${COLUMNS} }
  - { name: d, topic: b.dead-letters, key: id, ${COLUMNS} }
  - { name: e, backfillTopic: b, key: id, ${COLUMNS} }
  - { name: f, backfillTopic: a_backfill, key: id, ${COLUMNS} }
`,
    problems: [
      'tables[1].name (deltaferry.yaml:9): tables[0] has "a" too',
      'tables[2].topic (deltaferry.yaml:10): tables[0] has "b" too',
      'tables[1].postgres.table (deltaferry.yaml:9): tables[0] has "public.a" too',
      'tables[1].delta.table (deltaferry.yaml:9): tables[0] has "default.a" too',
      'tables[3].topic (deltaferry.yaml:11): "b.dead-letters" is the dead-letter topic of tables[0]',
      'tables[1].backfillTopic (deltaferry.yaml:9): tables[0] has "a_backfill" too',
      'tables[4].backfillTopic (deltaferry.yaml:12): "b" is a topic of tables[0]',
      'tables[5].backfillTopic (deltaferry.yaml:13): tables[0] has "a_backfill" too',
      'topics.positions (deltaferry.yaml:6): "b.dead-letters" is a topic of tables[0]',
    ],
  },
  {
    name: 'history columns that the table itself has',
    yaml: table(
      `{ name: a, key: id, columns: { id: bigint, on_date: date }, postgres: { offDate: is_active } }`,
    ),
    problems: [
      'tables[0].postgres.onDate (deltaferry.yaml:7): "on_date" is among the columns; the history needs it for itself',
      'tables[0].postgres.isActive (deltaferry.yaml:7): "is_active" is the name of another column of the history',
    ],
  },
  {
    name: 'rules over several fields',
    yaml: `${TABLES}
kafka: { brokers: ["kafka://b:1"], sasl: { mechanism: scram256, username: u }, tls: { certFile: /dev/null } }
registry: { url: "https://u:p@r", token: t, auth: { username: u, password: p } }
postgres: { id: one, url: "mysql://x" }
databricks: { id: one, host: "https://h", path: sql }
polling: { minMs: 300 }
`,
    problems: [
      'kafka.brokers[0] (deltaferry.yaml:7): must be host:port, without a protocol',
      'kafka.sasl.mechanism (deltaferry.yaml:7): must be one of plain, scram-sha-256, scram-sha-512; did you mean scram-sha-256?',
      'kafka.sasl.password (deltaferry.yaml:7): required',
      'kafka.tls.keyFile (deltaferry.yaml:7): required where certFile is set',
      'registry.url (deltaferry.yaml:8): must be an http:// or https:// URL without a user name or password (they belong in registry.auth)',
      'registry.token (deltaferry.yaml:8): only one of registry.auth and registry.token can be set',
      'postgres.url (deltaferry.yaml:9): must be a URL such as postgres://user:password@host:5432/database',
      'postgres.id (deltaferry.yaml:9): databricks.id is "one" too; every system needs an id of its own',
      'databricks.host (deltaferry.yaml:10): must be a host name alone, without https:// and path',
      'databricks.path (deltaferry.yaml:10): must begin with /',
      'databricks.token (deltaferry.yaml:10): required, unless databricks.oauth is set',
      'polling.minMs (deltaferry.yaml:11): must not be above polling.maxMs',
    ],
  },
  ...['p@ss/w0rd:1', '12/34567890', 'Ab3/xyz', 'pa#ss', '1?2'].map((password) => ({
    name: `a password that is not percent-encoded: ${password}`,
    yaml: `${CONNECTIONS.replace('postgres://u:pw@db/hr', `"postgres://u:${password}@db/hr"`)}${TABLES}`,
    problems: [
      'postgres.url (deltaferry.yaml:4): must be a URL such as postgres://user:password@host:5432/database; percent-encode @ : / ? # in user and password (what ${VARIABLE} puts there is), and @ elsewhere',
    ],
  })),
  {
    name: 'variables and files that are not there',
    yaml: `${CONNECTIONS.replace('t0ken', '{ file: nix }').replace('postgres://u:pw@db/hr', '"postgres://${USER_}:${PASS-word}@db/hr"')}${TABLES}`,
    env: { DELTAFERRY_KAFKA_SASL_PASSWORD_FILE: 'nowhere' },
    problems: [
      'postgres.url (deltaferry.yaml:4): the environment variable USER_ is not set; set it, or write ${USER_:-default}',
      'postgres.url (deltaferry.yaml:4): ${ must begin ${VARIABLE} or ${VARIABLE:-default}; write $${ for the two characters themselves',
      'databricks.token (deltaferry.yaml:5): the file nix cannot be read: there is no such file',
      'DELTAFERRY_KAFKA_SASL_PASSWORD_FILE: the file nowhere cannot be read: there is no such file',
    ],
  },
  {
    name: 'environment variables and flags',
    yaml: CONNECTIONS + TABLES,
    env: { DELTAFERRY_HTTP_PRT: '1', DELTAFERRY_LOG_LEVEL: 'loud', DELTAFERRY_HTTP_PORT: 'x' },
    overrides: {
      'kafka.broker': 'a:1',
      tables: 'x',
      'tables[3].topic': 't',
      'batching.maxBatchChanges': '0.5',
      http: 'x',
    },
    problems: [
      'DELTAFERRY_HTTP_PRT: unknown environment variable; did you mean DELTAFERRY_HTTP_PORT?',
      'log.level (DELTAFERRY_LOG_LEVEL): must be one of trace, debug, info, warn, error, silent',
      'http.port (DELTAFERRY_HTTP_PORT): expected a number, got text',
      '--set kafka.broker: unknown field; did you mean kafka.brokers?',
      '--set tables: is a section; set one of its fields, such as tables[0].name',
      '--set tables[3].topic: there is no tables[3]',
      'batching.maxBatchChanges (--set batching.maxBatchChanges): expected a whole number, got a fraction',
      '--set http: is a section; set one of its fields, such as http.enabled',
    ],
  },
  {
    name: 'a section of the wrong kind is one problem, not one for each of its rules',
    yaml: `${TABLES}kafka: 1\nregistry: x\npostgres: []\ndatabricks: 3\n`,
    problems: [
      'kafka (deltaferry.yaml:6): expected a map, got a number',
      'registry (deltaferry.yaml:7): expected a map, got text',
      'postgres (deltaferry.yaml:8): expected a map, got a list',
      'databricks (deltaferry.yaml:9): expected a map, got a number',
    ],
  },
  {
    name: 'no tables',
    yaml: `${CONNECTIONS}tables: []`,
    problems: ['tables (deltaferry.yaml:6): must not be empty'],
  },
  {
    name: 'YAML: a field twice',
    yaml: 'kafka: {}\nkafka: {}\n',
    problems: ['deltaferry.yaml:2: this field is written twice'],
  },
  {
    name: 'YAML: a variable without quotes inside braces',
    yaml: 'log: {}\nhttp: {port: ${PORT}, host: a}\n',
    problems: [
      'deltaferry.yaml:2: something here does not belong: a character too many, or a missing quote; inside { } and [ ], put ${VARIABLE} in quotes',
    ],
  },
  {
    name: 'YAML: text that begins like an alias',
    yaml: 'postgres:\n  url: *secret\n',
    problems: ['deltaferry.yaml:1: an alias (*) has no anchor (&); put text that begins with * in quotes'],
  },
  {
    name: 'YAML: not a map',
    yaml: '- a\n',
    problems: ['deltaferry.yaml:1: the file must hold sections, as `kafka:` on a line of its own'],
  },
];

for (const { name, yaml, files = {}, env = {}, overrides = {}, problems } of refused)
  test(`config problems: ${name}`, () =>
    inFolder({ 'deltaferry.yaml': yaml, ...files }, async (cwd) => {
      const error = await loadConfig({ cwd, env, overrides }).then(
        () => assert.fail('it was accepted'),
        (error: unknown) => error,
      );
      assert.ok(error instanceof ConfigError, String(error));
      assert.equal(error.kind, 'usage');
      const found = error.problems.map(
        ({ path, source, message }) =>
          `${path}${source === undefined || source === path ? '' : ` (${source})`}: ${message}`,
      );
      assert.deepEqual(found.sort(), [...problems].sort());
    }));

const nowhere = [
  {
    name: 'neither file nor stack: both ways are named',
    files: {},
    options: {},
    code: 'CONFIG_NOT_FOUND',
    says: [/no deltaferry\.yaml/, /deltaferry stack up/, /--config/],
  },
  {
    name: 'a file without connections and no stack',
    files: { 'deltaferry.yaml': TABLES },
    options: {},
    code: 'CONFIG_INVALID',
    says: [/kafka\.brokers: required/, /deltaferry stack up/, /Write the connections/],
  },
  {
    name: 'a file named by --config is not completed by whatever stack happens to run',
    files: { 'prod.yaml': TABLES, '.deltaferry/stack.json': STACK_JSON },
    options: { file: 'prod.yaml' },
    code: 'CONFIG_INVALID',
    says: [/postgres\.url: required/, /without --config/],
  },
  {
    name: '--config names no file',
    files: {},
    options: { file: 'prod.yaml' },
    code: 'CONFIG_INVALID',
    says: [/prod\.yaml: cannot be read: there is no such file/],
  },
];

for (const { name, files, options, code, says } of nowhere)
  test(`config problems: ${name}`, () =>
    inFolder(files as Record<string, string>, async (cwd) => {
      const error = await loadConfig({ cwd, env: {}, ...options }).catch((error: unknown) => error);
      assert.ok(error instanceof UsageError, String(error));
      assert.equal(error.code, code);
      for (const pattern of says) assert.match(`${error.message}\n${error.remedy}`, pattern);
    }));
