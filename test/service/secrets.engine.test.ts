import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { healthOf } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { testStack } from '../support/stack.ts';
import { until } from '../support/until.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const WRONG = 'marker/of:a@wrong%password';

/** A `deltaferry run` whose whole output is kept as it came. */
function run(args: readonly string[]) {
  const child = spawn(
    process.execPath,
    [MAIN, 'run', '--log-level', 'trace', '--log-format', 'json', '--http-port', '0', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = once(child, 'close') as Promise<[number | null]>;
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  return {
    output,
    ended,
    url: () => until('the address in the log', () => /"url":"(http:[^"]+)"/.exec(output.stderr)?.[1]),
    async stop(): Promise<number | null> {
      if (child.exitCode === null) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
      const [code] = await ended;
      clearTimeout(timer);
      return code;
    },
  };
}

/** Each secret as it is and as it stands in a URL or in JSON. */
function assertHidden(text: string, secrets: readonly string[]): void {
  for (const secret of secrets)
    for (const form of [
      secret,
      encodeURIComponent(secret),
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret).toString('base64').replaceAll('=', ''),
    ]) {
      const at = text.indexOf(form);
      assert.equal(at, -1, `a secret is in the output: …${text.slice(Math.max(0, at - 200), at)}<here>`);
    }
}

function assertJsonLines(text: string): void {
  for (const line of text.trimEnd().split('\n')) {
    const { level, time, msg } = JSON.parse(line) as Record<string, unknown>;
    assert.ok(typeof level === 'number' && typeof time === 'string' && typeof msg === 'string', line);
  }
}

describe('the output of a running service', () => {
  let site: Site;

  before(async () => {
    site = await openSite({ prefix: 'secrets', partitions: 1 });
  });
  after(() => site?.drop());

  const own = () => [
    decodeURIComponent(new URL(testStack().postgres.url).password),
    testStack().databricks.token,
  ];

  it('is JSON lines on standard error alone, and holds no secret', async () => {
    const service = run(['--config', site.configFile, '--set', 'registry.token=token-of-the-registry']);
    try {
      const url = await service.url();
      await until('the service to be ready', async () => (await healthOf(url).readyz()).status === 200);
      await site.warehouse.query({
        doing: 'a test',
        sql: `INSERT INTO ${site.deltaTable} VALUES (1, 'Ann', 1)`,
      });
      await until('the change to be applied', () => service.output.stderr.includes('apply ends'));
      const served =
        (await (await fetch(`${url}/metrics`)).text()) + (await (await fetch(`${url}/readyz`)).text());
      assertHidden(served, own());
    } finally {
      assert.equal(await service.stop(), 0);
    }
    assert.equal(service.output.stdout, '');
    assertJsonLines(service.output.stderr);
    assertHidden(service.output.stderr, [...own(), 'token-of-the-registry']);
  });

  const postgresWith = (change: (url: URL) => void) => {
    const url = new URL(site.config.postgres.url);
    change(url);
    return url.href;
  };
  const failures: readonly { name: string; set: () => Readonly<Record<string, string>>; says: RegExp }[] = [
    {
      name: 'a password that Postgres refuses',
      set: () => ({ 'postgres.url': postgresWith((url) => (url.password = encodeURIComponent(WRONG))) }),
      says: /POSTGRES_(28P01|LOGIN)/,
    },
    {
      name: 'a Postgres that is not there',
      set: () => ({
        'postgres.url': postgresWith((url) => {
          url.password = encodeURIComponent(WRONG);
          url.port = '1';
        }),
      }),
      says: /POSTGRES_ECONNREFUSED/,
    },
    {
      name: 'a token that Databricks refuses',
      set: () => ({ 'databricks.token': WRONG }),
      says: /DATABRICKS_LOGIN/,
    },
    {
      name: 'a registry that is not there',
      set: () => ({ 'registry.url': 'http://127.0.0.1:1', 'registry.token': WRONG }),
      says: /REGISTRY_UNREACHABLE/,
    },
    {
      name: 'a login that Kafka does not know',
      set: () => ({
        'kafka.sasl.mechanism': 'plain',
        'kafka.sasl.username': 'somebody',
        'kafka.sasl.password': WRONG,
      }),
      says: /KAFKA_\w+/,
    },
  ];
  for (const { name, set, says } of failures)
    it(`holds no secret with ${name}, and says what is wrong`, async () => {
      const flags = Object.entries(set()).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
      const service = run(['--config', site.configFile, ...flags]);
      let served = '';
      try {
        const url = await service.url();
        await until(`the output to say ${says}`, () => says.test(service.output.stderr));
        served = await (await fetch(`${url}/readyz`)).text();
      } finally {
        await service.stop();
      }
      assertHidden(served + service.output.stderr + service.output.stdout, [...own(), WRONG]);
      assertJsonLines(service.output.stderr);
    });

  for (const field of [`postgres.url=postgres//user:${WRONG}@host`, `databricks.token=${WRONG}\n`])
    it(`holds no secret where ${field.split('=')[0]} does not fit, and starts nothing`, async () => {
      const service = run(['--config', site.configFile, '--set', field]);
      assert.deepEqual(await service.ended, [2, null]);
      assert.match(service.output.stderr, /must (be|hold) /);
      assertHidden(service.output.stderr + service.output.stdout, [...own(), WRONG]);
    });
});
