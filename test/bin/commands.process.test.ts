import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Checkout } from './checkout.ts';

/** In the place of the program: tells its arguments, and ends as it is told. */
const program = `
  const how: string | undefined = process.argv[2];
  if (how === 'wait') {
    process.on('SIGTERM', () => { console.log('drained'); process.exit(3); });
    setInterval(() => {}, 1000);
  }
  console.log('program', ...process.argv.slice(2));
  if (how === 'killed') process.kill(process.pid, 'SIGKILL');
  if (how === 'fail') process.exitCode = 7;`;

function withProgram(): Checkout {
  const checkout = new Checkout();
  checkout.write('src/cli/main.ts', program);
  return checkout;
}

describe('the deltaferry command', () => {
  const cases: { name: string; args: string[]; code: number; builds: boolean }[] = [
    {
      name: 'passes arguments and success on',
      args: ['run', '--only', 'delta-feed'],
      code: 0,
      builds: false,
    },
    { name: 'passes the exit code on', args: ['fail'], code: 7, builds: false },
    { name: 'tells a death by signal as a shell does', args: ['killed'], code: 137, builds: false },
    { name: 'prepares the engines for stack up', args: ['stack', 'up'], code: 0, builds: true },
    { name: 'prepares the engines for the demo', args: ['demo', '--keep'], code: 0, builds: true },
    { name: 'needs no engines for the help of a command', args: ['demo', '--help'], code: 0, builds: false },
    {
      name: 'needs no engines to look at a demo that was kept',
      args: ['demo', '--look', 'kafka'],
      code: 0,
      builds: false,
    },
    { name: 'needs no engines to stop a stack', args: ['stack', 'down'], code: 0, builds: false },
  ];
  for (const { name, args, code, builds } of cases) {
    it(name, async () => {
      using checkout = withProgram();
      const result = await checkout.start('deltaferry', ...args).result;
      assert.ok(result.output.includes(`program ${args.join(' ')}\n`), result.output);
      assert.equal(result.code, code);
      assert.equal(checkout.calls().includes('mvn kafka'), builds);
    });
  }

  it('installed as a package, runs what was built and installs nothing but the engines', async () => {
    using machine = new Checkout('node_modules/deltaferry');
    machine.write('dist/cli/main.js', `console.log('built', ...process.argv.slice(2));`);
    const { code, output } = await machine.start('deltaferry', 'demo').result;
    assert.match(output, /^built demo$/m);
    assert.equal(code, 0);
    assert.deepEqual(machine.calls(), ['mvn kafka', 'mvn registry', 'mvn warehouse']);
  });

  it('hands a SIGTERM to the program once and waits for it to drain', async () => {
    using checkout = withProgram();
    const { child, result } = checkout.start('deltaferry', 'wait');
    for (let heard = ''; !heard.includes('program wait');) {
      const [chunk] = (await once(child.stdout ?? child, 'data')) as [Buffer];
      heard += String(chunk);
    }
    child.kill('SIGTERM');
    const { code, output } = await result;
    assert.equal(output.split('drained').length, 2);
    assert.equal(code, 3);
  });
});

describe('the checkout’s tasks', () => {
  function withTools(failing: string | undefined): Checkout {
    const checkout = new Checkout();
    for (const name of ['oxfmt', 'oxlint', 'tsc']) {
      const body = `console.log('${name} says', process.argv.slice(2).join(' ')); process.exitCode = ${name === failing ? 1 : 0};`;
      checkout.write(`.installed/${name}`, `#!${process.execPath}\n${body}`, 0o755);
    }
    const test = `import { it } from 'node:test'; it('NAME', () => {});`;
    checkout.write('test/flow/pure.test.ts', test.replace('NAME', 'a pure test'));
    checkout.write('test/flow/real.engine.test.ts', `throw new Error('an engine test ran in the check');`);
    checkout.write('test/stack/stack.test.ts', `throw new Error('an engine test ran in the check');`);
    return checkout;
  }

  it('check runs every step and the pure tests only', async () => {
    using checkout = withTools(undefined);
    const { code, output } = await checkout.start('run', 'check').result;
    for (const step of ['format', 'lint', 'types', 'tests'])
      assert.match(output, new RegExp(`^ok +${step} +[\\d.]+ s`, 'm'));
    assert.match(output, /1 tests/);
    assert.equal(code, 0, output);
  });

  it('check shows what every failed step said, and fails', async () => {
    using checkout = withTools('oxlint');
    checkout.write('test/scd/broken.test.ts', `throw new Error('this one is broken');`);
    const { code, output } = await checkout.start('run', 'check').result;
    assert.match(output, /--- lint ---\noxlint says/);
    assert.match(output, /--- tests ---[^]*this one is broken/);
    assert.match(output, /^check: FAILED: lint, tests/m);
    assert.equal(code, 1);
  });

  it('test runs the given files only, and passes options on', async () => {
    using checkout = withTools(undefined);
    const { code, output } = await checkout.start('run', 'test', 'test/flow/pure.test.ts').result;
    assert.match(output, /a pure test/);
    assert.equal(code, 0, output);
  });

  it('an unknown task or benchmark is answered with those that exist', async () => {
    using checkout = withTools(undefined);
    checkout.write('bench/live.ts', '');
    const task = await checkout.start('run', 'chekc').result;
    assert.match(task.output, /check\|test\|bench\|soak\|format/);
    assert.equal(task.code, 2);
    const bench = await checkout.start('run', 'bench', 'lives').result;
    assert.match(bench.output, /npm run bench -- live/);
    assert.equal(bench.code, 2);
  });
});
