/** A terminal and a parent process may both pass on one Ctrl-C; a person needs longer for the second. */
const SAME_KEYPRESS_MS = 300;

const NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;

/** The command was asked to stop before it was done. */
export class Interrupted extends Error {
  readonly exitCode: 130 | 143;

  constructor(signal: keyof typeof NUMBERS) {
    super(`stopped by ${signal}`);
    this.exitCode = signal === 'SIGINT' ? 130 : 143;
  }
}

/**
 * A signal that aborts with the first SIGINT or SIGTERM; the second ends the process at once with
 * 128 and the signal's number, as a shell would report it.
 */
export function abortOnSignals(announce: (text: string) => void): AbortSignal {
  const controller = new AbortController();
  let first: number | undefined;
  const take = (signal: keyof typeof NUMBERS) => {
    if (first === undefined) {
      first = performance.now();
      announce(`${signal}: finishing what is in hand; send it again to stop at once`);
      controller.abort(new Interrupted(signal));
    } else if (performance.now() - first > SAME_KEYPRESS_MS) {
      process.exit(128 + NUMBERS[signal]);
    }
  };
  process.on('SIGINT', take);
  process.on('SIGTERM', take);
  return controller.signal;
}
