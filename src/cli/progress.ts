/** Where long work says what it does. */
export interface Progress {
  /** A line that stays. */
  line(text: string): void;
  /** The state of the work, replaced by the next one. */
  progress(text: string): void;
  /** Leaves the screen as it should stay. */
  end(): void;
}

export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const PLAIN_INTERVAL_MS = 2000;

/** On a terminal the state is rewritten in place; elsewhere it becomes a plain line, one in two seconds at most. */
export function createProgress(
  output: ProgressOutput,
  now: () => number = () => performance.now(),
): Progress {
  return output.isTTY === true ? inPlace(output) : plainLines(output, now);
}

/** Says nothing: standard output and error belong to something else. */
export const silent: Progress = { line: () => {}, progress: () => {}, end: () => {} };

const ERASE = '\r\u001B[K';

function inPlace(output: ProgressOutput): Progress {
  let shown = false;
  const erase = () => {
    if (shown) output.write(ERASE);
    shown = false;
  };
  return {
    line: (text) => {
      erase();
      output.write(`${text}\n`);
    },
    progress: (text) => {
      // A line that wraps could not be erased.
      output.write(`${ERASE}${text.replaceAll('\n', ' ').slice(0, (output.columns ?? 80) - 1)}`);
      shown = true;
    },
    end: erase,
  };
}

function plainLines(output: ProgressOutput, now: () => number): Progress {
  let last = -Infinity;
  let pending: string | null = null;
  const flush = () => {
    if (pending !== null) output.write(`${pending}\n`);
    pending = null;
  };
  return {
    line: (text) => {
      flush();
      output.write(`${text}\n`);
    },
    progress: (text) => {
      pending = text;
      if (now() - last < PLAIN_INTERVAL_MS) return;
      last = now();
      flush();
    },
    end: flush,
  };
}
