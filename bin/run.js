// The checkout's own tasks: `node bin/run.js check|test|bench|soak|format`.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { main, prepare, root } from './bootstrap.js';
import { runInPlace } from './child.js';
import { quietFlags } from './node-flags.js';
import { MissingRequirement } from './requirements.js';

const tasks = { check, test, bench, soak, format };

/** Tests with more of what `npm test` can only afford a little of. */
const soaks = {
  backfill: {
    files: ['test/crash/backfill-crashes.engine.test.ts', 'test/crash/into-delta-crashes.engine.test.ts'],
    more: { LOAD_ROWS: '2000000', LOAD_KILLS: '40', INTO_DELTA_ROWS: '200000', INTO_DELTA_ROUNDS: '5' },
  },
  mutants: { files: ['test/mutants/engine.soak.ts'], more: {} },
};

/** Fast tests: one that needs an engine is called *.engine.test.ts, one that starts dozens of processes *.process.test.ts. */
const pureFolders = [
  'change',
  'scd',
  'flow',
  'service',
  'setup',
  'cli',
  'consumers',
  'producers',
  'bin',
  'demo',
  'docs',
  'connections',
  'support',
  'mutants',
];

await main(async () => {
  const [name, ...args] = process.argv.slice(2);
  const task = Object.hasOwn(tasks, name ?? '') ? tasks[name] : undefined;
  if (task === undefined)
    throw new MissingRequirement(`usage: node bin/run.js ${Object.keys(tasks).join('|')} [arguments]`);
  const { node } = await prepare({ need: [test, bench, soak].includes(task) ? 'engines' : 'dependencies' });
  process.chdir(root);
  return task(node, args);
});

/**
 * Every step of the check, side by side; what a failed one said is shown whole at the end. `--without-tests` where all
 * of them run anyway.
 */
async function check(node, args) {
  const began = Date.now();
  const tests = [
    'tests',
    node,
    ['--test', `--test-concurrency=${concurrency()}`, ...testFiles().filter(isPure)],
  ];
  const steps = [
    ['format', tool('oxfmt'), ['--check']],
    ['lint', tool('oxlint'), ['--type-aware', '--deny-warnings']],
    ['types', tool('tsc'), ['--noEmit', '-p', 'tsconfig.json']],
    ...(args.includes('--without-tests') ? [] : [tests]),
  ];
  const results = await Promise.all(steps.map((step) => runStep(step, toolEnv(node))));
  const failed = results.filter(({ code }) => code !== 0);
  for (const { name, output } of failed) process.stdout.write(`\n--- ${name} ---\n${output}\n`);
  const summary = failed.length === 0 ? 'all good' : `FAILED: ${failed.map(({ name }) => name).join(', ')}`;
  process.stdout.write(`check: ${summary} (${seconds(began)} s)\n`);
  return failed.length === 0 ? 0 : 1;
}

function soak(node, [name, ...args]) {
  if (!Object.hasOwn(soaks, name ?? ''))
    throw new MissingRequirement(`usage: npm run soak -- ${Object.keys(soaks).join('|')}`);
  const { files, more } = soaks[name];
  Object.assign(process.env, { ...more, ...process.env, DELTAFERRY_TEST_CONCURRENCY: '1' });
  return test(node, [...args, ...files]);
}

/** All tests on the real engines, or the given files. */
function test(node, args) {
  const files = args.some((arg) => arg.endsWith('.ts')) ? [] : testFiles();
  const setup = join('test', 'global-setup.ts');
  const options = [
    `--test-concurrency=${concurrency()}`,
    ...(existsSync(setup) ? [`--test-global-setup=${setup}`] : []),
  ];
  return runInPlace(node, [...quietFlags, '--test', ...options, ...args, ...files], toolEnv(node));
}

function bench(node, [name, ...args]) {
  const known = existsSync('bench') ? readdirSync('bench').filter((file) => file.endsWith('.ts')) : [];
  if (!known.includes(`${name}.ts`)) {
    throw new MissingRequirement(
      `usage: npm run bench -- ${known.map((file) => file.slice(0, -3)).join('|')} [arguments]`,
    );
  }
  return runInPlace(node, [...quietFlags, join('bench', `${name}.ts`), ...args], toolEnv(node));
}

function format(node, args) {
  return runInPlace(tool('oxfmt'), args, toolEnv(node));
}

function tool(name) {
  return join(root, 'node_modules', '.bin', name);
}

function concurrency() {
  return process.env.DELTAFERRY_TEST_CONCURRENCY || '2';
}

/**
 * The tools are scripts that look for `node` on the PATH: theirs is the pinned one. Every test file and every worker
 * is a process: what was compiled for one serves the next.
 */
function toolEnv(node) {
  return {
    NODE_COMPILE_CACHE: join(root, 'target', 'compile-cache'),
    ...process.env,
    PATH: `${dirname(node)}${delimiter}${process.env.PATH}`,
  };
}

function testFiles() {
  if (!existsSync('test')) return [];
  return (
    readdirSync('test', { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
      // Node 20 has had both names for it.
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
      .sort()
  );
}

function isPure(file) {
  if (/\.(engine|process)\.test\.ts$/.test(file)) return false;
  const [, folder, ...rest] = file.split(/[\\/]/);
  return rest.length === 0 || pureFolders.includes(folder);
}

function runStep([name, file, args], env) {
  const began = Date.now();
  return new Promise((resolve) => {
    const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const collect = (chunk) => (output += chunk);
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const done = (code) => {
      process.stdout.write(
        `${code === 0 ? 'ok    ' : 'FAILED'} ${name.padEnd(6)} ${seconds(began).padStart(5)} s${passed(output)}\n`,
      );
      resolve({ name, code, output });
    };
    child.on('error', (error) => {
      output += error.message;
      done(1);
    });
    child.on('close', (code) => done(code ?? 1));
  });
}

/** How many tests there were: a check that silently ran none would be no check. */
function passed(output) {
  const count = /^. pass (\d+)$/m.exec(output)?.[1];
  return count === undefined ? '' : `  ${count} tests`;
}

function seconds(since) {
  return ((Date.now() - since) / 1000).toFixed(1);
}
