import type { Command } from 'commander';

/** What a command sees of the world. */
export interface Context {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Aborts with the first SIGINT or SIGTERM after the call; the second ends the process at once. */
  interruptible(): AbortSignal;
  /** Hides the secrets of a loaded configuration in every error that is reported from now on. */
  conceal(clean: (text: string) => string): void;
}

/** Of a command: 0 done, 1 failed, 2 wrong usage or configuration, 130 and 143 stopped by a signal. */
export type ExitCode = 0 | 1 | 2 | 130 | 143;

/** Adds one command, or a group of them, to the program. `exit` takes the code where it is not 0. */
export type AddCommand = (program: Command, context: Context, exit: (code: ExitCode) => void) => void;

export function printLine(context: Context, text: string): void {
  context.stdout.write(`${text}\n`);
}

/** With `--json`, standard output holds exactly one JSON document. */
export function printJson(context: Context, value: unknown): void {
  context.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
