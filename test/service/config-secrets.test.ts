import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import pg from 'pg';
import { stringify } from 'yaml';
import { DeltaferryError } from '../../src/errors.ts';
import { envNameOf, pathText, settableFields } from '../../src/service/config/fields.ts';
import { loadConfig } from '../../src/service/config/load.ts';
import { maskUrl, redact, scrubber } from '../../src/service/config/redact.ts';
import { configTree } from '../../src/service/config/schema.ts';
import { CONNECTIONS, TABLES, inFolder } from './config-cases.ts';

const secretFields = settableFields(configTree).filter(([, node]) => node.note.secret !== undefined);
const shapes: Readonly<Record<string, (marker: string) => string>> = {
  'postgres.url': (marker) =>
    `postgres://u:${encodeURIComponent(marker)}@db/hr?sslpassword=${encodeURIComponent(marker)}`,
};

/** A configuration with a secret of its own in every field that takes one (token and oauth exclude each other). */
function planted(marker: (field: string) => string, without: string): Record<string, unknown> {
  const config: Record<string, unknown> = {
    tables: [{ name: 't', key: 'id', columns: { id: 'bigint' } }],
    kafka: { brokers: ['b:1'], sasl: { mechanism: 'plain', username: 'user' } },
    registry: { url: 'http://r', auth: { username: 'user' } },
    postgres: {},
    databricks: { host: 'h', path: '/p', oauth: { clientId: 'client' } },
  };
  for (const [path] of secretFields) {
    const field = pathText(path);
    const value = shapes[field]?.(marker(field)) ?? marker(field);
    let at = config;
    for (const step of path.slice(0, -1)) at = (at[step] ??= {}) as Record<string, unknown>;
    at[path.at(-1)!] = value;
  }
  const drop = {
    token: ['databricks.oauth', 'registry.auth'],
    login: ['databricks.token', 'registry.token'],
  }[without]!;
  for (const path of drop) {
    const [section, field] = path.split('.') as [string, string];
    delete (config[section] as Record<string, unknown>)[field];
  }
  return config;
}

const MARKER = 'pl4nted-S3cret';
const LEAK = /pl4nted/;

test('secrets: the fields are the ones we know of', () => {
  assert.deepEqual(
    secretFields.map(([path]) => pathText(path)),
    [
      'kafka.sasl.password',
      'registry.auth.password',
      'registry.token',
      'postgres.url',
      'databricks.token',
      'databricks.oauth.clientSecret',
    ],
  );
});

for (const without of ['token', 'login'])
  test(`secrets: none is shown, and a text that repeats one is cleaned (no ${without})`, () =>
    inFolder(
      { 'deltaferry.yaml': stringify(planted((field) => `${MARKER}/${field}?"`, without)) },
      async (cwd) => {
        const config = await loadConfig({ cwd, env: {} });
        assert.match(JSON.stringify(config), LEAK);
        assert.doesNotMatch(JSON.stringify(redact(config)), LEAK);
        const clean = scrubber(config);
        assert.doesNotMatch(clean(`connect failed: ${inspect(config, { depth: 9 })}`), LEAK);
        assert.doesNotMatch(
          clean(JSON.stringify({ msg: JSON.stringify(config.kafka), config })),
          /pl4nted-S3cret\/kafka\.sasl\.password\?"/,
        );
        assert.equal(
          clean('nothing secret about postgres, user and b:1'),
          'nothing secret about postgres, user and b:1',
        );
      },
    ));

/** Every way to break a configuration: at a secret's own place, beside it, and in the YAML round it. */
const breakages: readonly ((
  config: Record<string, unknown>,
  path: readonly string[],
  marker: string,
) => string)[] = [
  (config, path, marker) => stringify(withValue(config, path, { value: marker })),
  (config, path, marker) => stringify(withValue(config, path, [marker])),
  (config, path, marker) => stringify(withValue(config, path, `$${marker}`.replace('$', '${'))),
  (config, path, marker) => stringify(withValue(config, path.slice(0, -1), marker)),
  (config, path) => stringify({ ...config, [`${path[0]}s`]: config[path[0]!], log: { level: 7 } }),
  (config) => `${stringify(config)}\n  bad: [indent`,
  (config) => stringify(config).replaceAll(MARKER, `*${MARKER}`),
  (config) => stringify(config).replaceAll(MARKER, `!${MARKER} x`),
  (config) => stringify(config).replaceAll(MARKER, `"${MARKER}" ${MARKER}`),
  (config) => stringify(config).replaceAll(MARKER, `{${MARKER}`),
  (config) => stringify(config).replaceAll(MARKER, `@${MARKER}: ${MARKER}: x`),
  (config) => stringify(config).replaceAll(MARKER, `\t${MARKER}`),
  (config) => stringify(config).replaceAll('pl4nted', '${UNSET}pl4nted'),
];

function withValue(
  config: Record<string, unknown>,
  path: readonly string[],
  value: unknown,
): Record<string, unknown> {
  const copy = structuredClone(config);
  let at = copy;
  for (const step of path.slice(0, -1)) at = (at[step] ??= {}) as Record<string, unknown>;
  at[path.at(-1)!] = value;
  return copy;
}

for (const [path] of secretFields)
  test(`secrets: no error repeats ${pathText(path)}, however the file is broken`, async () => {
    for (const [at, broken] of breakages.entries())
      for (const without of ['token', 'login']) {
        const yaml = broken(
          planted(() => MARKER, without),
          path,
          MARKER,
        );
        await inFolder({ 'deltaferry.yaml': yaml }, async (cwd) => {
          const error = await loadConfig({ cwd, env: {} }).catch((error: unknown) => error);
          if (error instanceof DeltaferryError)
            assert.doesNotMatch(inspect(error, { depth: 9 }), LEAK, `breakage ${at}\n${yaml}`);
          else assert.ok(!(error instanceof Error), `breakage ${at}: ${inspect(error)}`);
        });
      }
  });

test('secrets: none in errors about environment variables and flags', () =>
  inFolder({ 'deltaferry.yaml': 'tables: []' }, async (cwd) => {
    const env = Object.fromEntries(secretFields.map(([path]) => [envNameOf(path), MARKER]));
    const overrides = Object.fromEntries(secretFields.map(([path]) => [pathText(path), MARKER]));
    for (const options of [
      { env },
      { env: {}, overrides },
      { env: { ...env, DELTAFERRY_KAFKA_BROKERS: MARKER } },
    ]) {
      const error = await loadConfig({ cwd, ...options }).catch((error: unknown) => error);
      assert.ok(error instanceof DeltaferryError);
      assert.doesNotMatch(inspect(error, { depth: 9 }), LEAK);
    }
  }));

test('secrets: a password of any characters is masked in the URL that is shown', () =>
  fc.assert(
    fc.asyncProperty(fc.string({ minLength: 3, maxLength: 20, unit: 'grapheme' }), async (suffix) => {
      const password = `${MARKER}${suffix.toWellFormed()}`;
      const config = planted(() => password, 'login');
      await inFolder({ 'deltaferry.yaml': stringify(config).replaceAll('${', '$${') }, async (cwd) => {
        const shown = JSON.stringify(redact(await loadConfig({ cwd, env: {} })));
        assert.doesNotMatch(shown, LEAK);
      });
    }),
    { numRuns: 100 },
  ));

/** As password managers make them: each would end the password, or the host, of a URL too early. */
const PASSWORDS = [
  '12/34567890',
  'p@ss/w0rd:1',
  'Ab3/xyz',
  'pa#ss',
  'a?b@c',
  '50%off',
  'p%40ss:word',
  '[ü] {$x}',
];

const withUrl = (url: string) => CONNECTIONS.replace('postgres://u:pw@db/hr', JSON.stringify(url)) + TABLES;

for (const password of PASSWORDS)
  for (const [how, url, env] of [
    ['a variable', 'postgres://me:${PASSWORD}@db.example.com:5432/hr', { PASSWORD: password }],
    ['a default', `postgres://me:\${PASSWORD:-${password.replace('}', '')}}@db.example.com:5432/hr`, {}],
    [
      'one variable with the user',
      'postgres://${BOTH}@db.example.com:5432/${NAME}',
      { BOTH: `me:${password}`, NAME: 'hr' },
    ],
  ] as const)
    test(`secrets: the password ${password} from ${how} is the one that is sent, and is nowhere shown`, () =>
      inFolder({ 'deltaferry.yaml': withUrl(url) }, async (cwd) => {
        const config = await loadConfig({ cwd, env });
        const sent = new pg.Client({ connectionString: config.postgres.url });
        assert.deepEqual(
          { user: sent.user, host: sent.host, port: sent.port, database: sent.database },
          { user: 'me', host: 'db.example.com', port: 5432, database: 'hr' },
        );
        const expected = how === 'a default' ? password.replace('}', '') : password;
        assert.equal(sent.password, expected);
        const shown = redact(config) as { postgres: { url: string } };
        assert.equal(shown.postgres.url, 'postgres://me:***@db.example.com:5432/hr');
        const encoded = encodeURIComponent(expected);
        const clean = scrubber(config);
        // Shorter ones cannot be told from words.
        for (const form of [expected, encoded].filter(({ length }) => length >= 8))
          assert.equal(clean(`no login with ${form} at db`), 'no login with *** at db');
      }));

test('secrets: a user of any characters, and a variable that is not part of user or password', () =>
  inFolder(
    { 'deltaferry.yaml': withUrl('postgres://${ME}:x@db/hr?application_name=${APP}') },
    async (cwd) => {
      const { postgres } = await loadConfig({
        cwd,
        env: { ME: 'me@corp:1/2', APP: 'a/b&connect_timeout=9' },
      });
      const { user, password, host } = new pg.Client({ connectionString: postgres.url });
      assert.deepEqual({ user, password, host }, { user: 'me@corp:1/2', password: 'x', host: 'db' });
      assert.equal(new URL(postgres.url).searchParams.get('connect_timeout'), '9');
    },
  ));

test('secrets: a URL that is a variable as a whole is taken as it is', () =>
  inFolder({ 'deltaferry.yaml': withUrl('${URL}') }, async (cwd) => {
    const { postgres } = await loadConfig({ cwd, env: { URL: 'postgres://me:p%40ss@db/hr' } });
    assert.equal(postgres.url, 'postgres://me:p%40ss@db/hr');
  }));

/** A password pasted raw may make of the URL another one that is just as valid, with a part of it in host or path. */
test('secrets: a password that is pasted in raw is refused, or is not shown and goes to the right host', () =>
  fc.assert(
    fc.asyncProperty(
      fc.string({ maxLength: 12, unit: fc.constantFrom(...'@:/?#%[]&=1aZ.'.split('')) }),
      fc.constantFrom('', '12/', '1#', '2?', ':', 'p@ss/'),
      async (suffix, prefix) => {
        const password = `${prefix}${MARKER}${suffix}`;
        const url = `postgres://me:${password}@db.example.com:5432/hr`;
        assert.doesNotMatch(maskUrl(url), LEAK, url);
        await inFolder({ 'deltaferry.yaml': `${CONNECTIONS}${TABLES}` }, async (cwd) => {
          const overrides = { 'postgres.url': url };
          const config = await loadConfig({ cwd, env: {}, overrides }).catch((error: unknown) => error);
          if (config instanceof DeltaferryError) {
            assert.match(config.message, /^postgres\.url .*: must be .*; percent-encode @ : \/ \? #/);
            assert.doesNotMatch(inspect(config, { depth: 9 }), LEAK);
            return;
          }
          const loaded = config as Awaited<ReturnType<typeof loadConfig>>;
          assert.doesNotMatch(JSON.stringify(redact(loaded)), LEAK, url);
          assert.equal(new URL(loaded.postgres.url).hostname, 'db.example.com', url);
          assert.equal(scrubber(loaded)(`(${password})`), '(***)');
        });
      },
    ),
    { numRuns: 300 },
  ));
