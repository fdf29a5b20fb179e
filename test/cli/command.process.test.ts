import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { CONNECTIONS, STACK_JSON, TABLES, inFolder } from '../service/config-cases.ts';
import { deltaferry } from './spawned.ts';

const COMMANDS = [
  ['demo'],
  ['stack', 'up'],
  ['stack', 'down'],
  ['stack', 'status'],
  ['config', 'show'],
  ['config', 'check'],
  ['config', 'reference'],
  ['schema'],
  ['setup'],
  ['run'],
  ['backfill'],
  ['status'],
  ['dead-letters', 'list'],
  ['dead-letters', 'show'],
];

suite('the command', { concurrency: 2 }, () => {
  test('--help lists every command on one line, and three examples', () =>
    inFolder({}, async (cwd) => {
      const { code, stdout } = await deltaferry(['--help'], cwd);
      assert.equal(code, 0);
      for (const line of [
        'demo ',
        'stack up|down|status ',
        'config show|check|reference ',
        'schema [table] ',
        'setup ',
        'run ',
        'backfill <table> ',
        'status [table] ',
        'dead-letters list|show ',
      ])
        assert.match(stdout, new RegExp(`^  ${line.replaceAll(/[[\]|]/g, '\\$&')} +\\S.*$`, 'm'));
      assert.equal(stdout.match(/^ {2}\$ deltaferry /gm)?.length, 3);
      assert.ok(stdout.split('\n').every((line) => line.length <= 100));
    }));

  for (const words of COMMANDS)
    test(`${words.join(' ')} --help has examples`, () =>
      inFolder({}, async (cwd) => {
        const { code, stdout } = await deltaferry([...words, '--help'], cwd);
        assert.equal(code, 0);
        assert.match(stdout, /Examples:\n {2}\$ deltaferry /);
        assert.match(stdout, /--json/);
      }));

  const mistakes = [
    {
      args: ['run', '--onyl', 'x'],
      says: /unknown option '--onyl'; did you mean --only\?\n→ See `deltaferry run --help`/,
    },
    { args: ['setup', '--dry-rnu'], says: /did you mean --dry-run\?/ },
    { args: ['rnu'], says: /unknown command 'rnu'; did you mean run\?\n→ See `deltaferry --help`/ },
    {
      args: ['config', 'chek'],
      says: /unknown command 'chek'; did you mean check\?\n→ See `deltaferry config --help`/,
    },
    { args: ['demo', '--look', 'kafak'], says: /--look: there is no "kafak"; did you mean kafka\?/ },
    { args: ['demo', '--look', 'kafka'], says: /no demo was kept in .*\n→ Run one: deltaferry demo --keep/ },
    { args: ['verify', 'employees'], says: /unknown command 'verify'\n→ See `deltaferry --help`/ },
    { args: ['transfer', 'jdbc', 'x'], says: /unknown command 'transfer'\n→ See `deltaferry --help`/ },
    {
      args: ['config', 'chek', 'x'],
      says: /unknown command 'chek'; did you mean check\?\n→ See `deltaferry config --help`/,
    },
    {
      args: ['backfill', 'employees', '--resmue'],
      says: /did you mean --resume\?\n→ See `deltaferry backfill --help`/,
    },
    {
      args: ['dead-letters', 'show', '12'],
      says: /"12" is not partition:offset\n→ For instance: deltaferry dead-letters show 0:12/,
    },
    { args: ['dead-letters', 'list', 'emploees'], says: /no table emploees .*did you mean employees\?/ },
    { args: ['dead-letters', 'list', '--limit', 'all'], says: /--limit must be a whole number/ },
    { args: ['stack'], says: /Usage: deltaferry stack/ },
    { args: [], says: /Usage: deltaferry / },
    {
      args: ['run', '--only', 'delta-fed'],
      says: /--only: there is no "delta-fed"; did you mean delta-feed\?/,
    },
    {
      args: ['schema', 'emploees'],
      says: /no table emploees in the configuration; did you mean employees\?/,
    },
    {
      args: ['config', 'check', '--set', 'log.levle=x'],
      says: /--set log\.levle: unknown field; did you mean log\.level\?/,
    },
    { args: ['config', 'check', '--set', 'hunter2'], says: /--set takes path=value/ },
    {
      args: ['setup', '--without-delta', '--set', 'tables.employees.direction=both'],
      says: /Table employees has the direction both.*\n→ Leave --without-delta out/,
    },
    { args: ['run', '--config', 'nix.yaml'], says: /nix\.yaml: cannot be read: there is no such file/ },
  ];
  for (const { args, says } of mistakes)
    test(`usage: deltaferry ${args.join(' ')} → exit 2`, () =>
      inFolder({ 'deltaferry.yaml': CONNECTIONS + TABLES }, async (cwd) => {
        const { code, stdout, stderr } = await deltaferry(args, cwd);
        assert.match(stderr, says);
        assert.doesNotMatch(stderr, /hunter2|\n +at /);
        assert.equal(stdout, '');
        assert.equal(code, 2);
      }));

  test('--json prints an error as one document, with every problem', () =>
    inFolder({ 'deltaferry.yaml': `${TABLES}http: { port: x }` }, async (cwd) => {
      const { code, stdout, stderr } = await deltaferry(['setup', '--json'], cwd);
      const { error } = JSON.parse(stdout) as {
        error: { code: string; message: string; remedy: string; problems: unknown[] };
      };
      assert.equal(code, 2);
      assert.equal(stderr, '');
      assert.equal(error.code, 'CONFIG_INVALID');
      assert.match(error.remedy, /deltaferry stack up/);
      assert.deepEqual(error.problems.at(-1), {
        path: 'http.port',
        message: 'expected a number, got text',
        source: 'deltaferry.yaml:6',
      });
    }));

  test('without any configuration both ways are named', () =>
    inFolder({}, async (cwd) => {
      const { code, stderr } = await deltaferry(['run'], cwd);
      assert.equal(code, 2);
      assert.match(
        stderr,
        /no deltaferry\.yaml in .*\n→ Write a deltaferry\.yaml .*; or start the local stack: deltaferry stack up/,
      );
    }));

  test('config show masks secrets and can be read back; config check says where it all came from', () =>
    inFolder(
      {
        'deltaferry.yaml': `${TABLES}registry: { url: http://mine, token: hunter2 }`,
        '.deltaferry/stack.json': STACK_JSON,
      },
      async (cwd) => {
        const shown = await deltaferry(['config', 'show'], cwd, { DELTAFERRY_LOG_LEVEL: 'debug' });
        assert.equal(shown.code, 0, shown.stderr);
        assert.doesNotMatch(shown.stdout, /hunter2|stack-secret|stack-token/);
        assert.match(shown.stdout, /url: postgres:\/\/postgres:\*\*\*@127\.0\.0\.1:3\/postgres/);
        assert.match(shown.stdout, /type: numeric\(12,2\)/);
        assert.match(shown.stdout, /level: debug/);
        const checked = await deltaferry(['config', 'check'], cwd);
        assert.equal(
          checked.stdout,
          'ok: deltaferry.yaml; kafka, postgres, databricks of the local stack in .deltaferry\ntables: employees\n',
        );
      },
    ));

  /** In a process of its own: an error that no code of ours awaits, with a secret in it, as the drivers may make one. */
  const uncaught = {
    'an exception': "setImmediate(() => { throw new Error('no login with t0k3n/s3cret'); })",
    'a rejection': "void Promise.reject(new Error('no login with t0k3n/s3cret'))",
  };
  for (const [what, happens] of Object.entries(uncaught))
    for (const json of [false, true])
      test(`${what} that nobody handles is reported like every failure, secrets masked: exit 1${json ? ' (--json)' : ''}`, () =>
        inFolder(
          {
            'deltaferry.yaml': CONNECTIONS.replace('t0ken', 't0k3n/s3cret') + TABLES,
            'driver.mjs': `import net from 'node:net'; net.Socket.prototype.connect = function () { ${happens}; return this; };`,
          },
          async (cwd) => {
            const { code, stdout, stderr } = await deltaferry(['status', ...(json ? ['--json'] : [])], cwd, {
              NODE_OPTIONS: `--import ${pathToFileURL(join(cwd, 'driver.mjs')).href}`,
            });
            assert.doesNotMatch(stdout + stderr, /s3cret|\n +at /);
            if (json) {
              const { error } = JSON.parse(stdout) as { error: Record<string, string> };
              assert.deepEqual([error['code'], error['message']], ['UNEXPECTED', 'no login with ***']);
              assert.equal(stderr, '');
            } else {
              assert.match(stderr, /^error: no login with \*\*\*\n→ .*\n {2}code: UNEXPECTED\n$/);
              assert.equal(stdout, '');
            }
            assert.equal(code, 1);
          },
        ));

  test('config show masks a password that would change the URL were it pasted in', () =>
    inFolder(
      {
        'deltaferry.yaml':
          CONNECTIONS.replace('postgres://u:pw@db/hr', '"postgres://u:${PASSWORD}@db/hr"') + TABLES,
      },
      async (cwd) => {
        const { stdout, stderr } = await deltaferry(['config', 'show'], cwd, { PASSWORD: '12/34567890' });
        assert.match(stdout, /url: postgres:\/\/u:\*\*\*@db\/hr$/m, stderr);
        assert.doesNotMatch(stdout, /34567890/);
      },
    ));

  test('schema prints one table’s schema, and writes each where it differs', () =>
    inFolder({ 'deltaferry.yaml': TABLES }, async (cwd) => {
      const printed = await deltaferry(['schema', 'employees'], cwd);
      assert.equal((JSON.parse(printed.stdout) as { type: string }).type, 'record');
      const file = join('schemas', 'employees_changes-value.avsc');
      assert.equal((await deltaferry(['schema', '--write'], cwd)).stdout, `new       ${file}\n`);
      assert.equal((await deltaferry(['schema', '--write'], cwd)).stdout, `unchanged ${file}\n`);
      assert.equal(await readFile(join(cwd, file), 'utf8'), printed.stdout);
    }));

  test('stack status of a folder without a stack: every part stopped, exit 1', () =>
    inFolder({}, async (cwd) => {
      const { code, stdout } = await deltaferry(['stack', 'status', '--json'], cwd);
      const { parts } = JSON.parse(stdout) as { parts: { state: string }[] };
      assert.equal(code, 1);
      assert.deepEqual(new Set(parts.map(({ state }) => state)), new Set(['stopped']));
    }));
});
