import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const ROOT = join(import.meta.dirname, '../..');
const HOOK = pathToFileURL(join(import.meta.dirname, 'hook.ts')).href;

/** One mistake in the source, and the test of the promise that it breaks. */
export interface Mutant {
  /** In docs/SPEC.md. */
  readonly promise: string;
  /** What the mistake does, after "a service that …". */
  readonly name: string;
  /** Below the root; `find` is there exactly once. */
  readonly file: string;
  readonly find: string;
  readonly put: string;
  /** The file, and the title of the test or of a suite that it is in. */
  readonly caughtBy: readonly [file: string, title: string];
  /** What the failure says; default: that an assertion failed. */
  readonly saying?: RegExp;
}

/** Runs the test with the mistake in the source of it and of every process that it starts: it has to fail. */
export async function assertCaught(mutant: Mutant, signal: AbortSignal): Promise<void> {
  const { file, find, put, caughtBy, saying = /ERR_ASSERTION/ } = mutant;
  const [test, title] = caughtBy;
  const folder = mkdtempSync(join(tmpdir(), 'deltaferry-mutant-'));
  const seen = join(folder, 'seen');
  try {
    // A test that fails may leave connections open. Without --test, which processes that the test forks would inherit.
    const options = ['--test-force-exit', '--test-reporter=spec', `--test-name-pattern=${escaped(title)}`];
    const { code, output } = await run([...options, join(ROOT, test)], signal, {
      NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import ${HOOK}`,
      MUTANT_OF_A_TEST: JSON.stringify({ file: join(ROOT, file), find, put, seen }),
    });
    assert.ok(existsSync(seen), `nothing has loaded ${file}, or it no longer says: ${find}\n${output}`);
    assert.notEqual(code, 0, `"${title}" does not notice it`);
    assert.match(output, new RegExp(`✖ .*${escaped(title)}`), `another test failed\n${output}`);
    assert.match(output, saying, `it failed for another reason\n${output}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(
  args: readonly string[],
  signal: AbortSignal,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((resolve, reject) => {
    // A test that runs in a test says nothing else of itself than whether it passed.
    const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
    const child = spawn(process.execPath, args, {
      env: { ...inherited, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

function escaped(title: string): string {
  return title.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
