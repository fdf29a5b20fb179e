import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { OperatorError, TransientError, UsageError } from '../../src/errors.ts';
import { reportFailure } from '../../src/cli/failure.ts';

/** An operator would lose: what to do next, or a password in a terminal's history. */
function report(error: unknown, args: readonly string[] = [], clean = (text: string) => text) {
  const said = { stdout: '', stderr: '' };
  const stream = (name: keyof typeof said) =>
    ({ write: (text: string) => (said[name] += text) }) as unknown as NodeJS.WriteStream;
  const context = { stdout: stream('stdout'), stderr: stream('stderr') };
  const code = reportFailure(error, { args, program: new Command(), context, clean });
  return { code, ...said };
}

const cause = new Error('no route to host');
const cases = [
  {
    name: 'an operator’s error: cause, remedy, code',
    error: new OperatorError({
      code: 'TABLE_MISSING',
      message: 'table x is gone',
      remedy: 'Create it.',
      cause,
    }),
    code: 1,
    stderr: 'error: table x is gone: no route to host\n→ Create it.\n  code: TABLE_MISSING\n',
  },
  {
    name: 'a cause that the message quotes is not said twice',
    error: new OperatorError({ code: 'X', message: 'Kafka: no route to host.', remedy: 'R.', cause }),
    code: 1,
    stderr: 'error: Kafka: no route to host.\n→ R.\n  code: X\n',
  },
  {
    name: 'usage',
    error: new UsageError({ code: 'ROLE_UNKNOWN', message: 'no such role', remedy: 'Name one.' }),
    code: 2,
    stderr: 'error: no such role\n→ Name one.\n  code: ROLE_UNKNOWN\n',
  },
  {
    name: 'an error without a remedy of its own gets that of its kind',
    error: new TransientError({ code: 'REFUSED', message: 'refused' }),
    code: 1,
    stderr: 'error: refused\n→ Nothing to do: it is retried with backoff.\n  code: REFUSED\n',
  },
  {
    name: 'anything else',
    error: new TypeError('x is not a function'),
    code: 1,
    stderr:
      'error: x is not a function\n→ This is not an error we foresaw: run it again with --debug and report what it prints.\n  code: UNEXPECTED\n',
  },
];

for (const { name, error, code, stderr } of cases)
  test(`failure: ${name}`, () => assert.deepEqual(report(error), { code, stderr, stdout: '' }));

test('failure: stack traces, with their causes, only with --debug', () => {
  const error = new OperatorError({ code: 'X', message: 'outer', cause });
  assert.doesNotMatch(report(error).stderr, /failure\.test\.ts/);
  const { stderr } = report(error, ['run', '--debug']);
  assert.match(stderr, /OperatorError: outer\n +at .*failure\.test\.ts/);
  assert.match(stderr, /caused by Error: no route to host/);
});

test('failure: --json on standard output, secrets cleaned; a word after -- is no flag', () => {
  const error = new OperatorError({ code: 'X', message: 'login with hunter2 failed', remedy: 'R' });
  const clean = (text: string) => text.replaceAll('hunter2', '***');
  const { stdout, stderr } = report(error, ['--json'], clean);
  assert.deepEqual(JSON.parse(stdout), {
    error: { code: 'X', message: 'login with *** failed', remedy: 'R' },
  });
  assert.equal(stderr, '');
  assert.match(report(error, ['--', '--json'], clean).stderr, /login with \*\*\* failed/);
});
