import { CommanderError } from 'commander';
import type { Context, ExitCode } from './context.ts';
import { reportFailure } from './failure.ts';
import { createProgram } from './program.ts';
import { abortOnSignals } from './signals.ts';

const args = process.argv.slice(2);

let clean = (text: string): string => text;

const context: Context = {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  conceal: (given) => (clean = given),
  interruptible: () =>
    abortOnSignals((text) => {
      // For whoever pressed the key: elsewhere standard error may be a log of JSON lines.
      if (process.stderr.isTTY) process.stderr.write(`${text}\n`);
    }),
};

let code: ExitCode = 0;
const program = createProgram(context, (given) => (code = given));

/** Runs the command: 0 done, 1 failed, 2 wrong usage or configuration. */
async function main(): Promise<ExitCode> {
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    // A group without a command has printed its help already.
    if (error instanceof CommanderError && error.code === 'commander.help') return 2;
    return report(error);
  }
}

function report(error: unknown): ExitCode {
  return reportFailure(error, { args, program, context, clean });
}

/** What nobody awaits, in a driver say, would be printed as it is, secrets included; nothing is known of the state after it. */
process.on('uncaughtException', (error) => {
  report(error);
  process.exit(1);
});

/** Whoever reads our output through a pipe may leave early, as `head` does. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const LINGER_MS = 2000;
process.exitCode = await main();
// A driver may keep a socket or a timer after it was closed: the work is done all the same.
setTimeout(() => process.exit(), LINGER_MS).unref();
