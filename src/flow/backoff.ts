export interface BackoffOptions {
  /** The shortest wait, milliseconds. */
  readonly initialMs: number;
  /** The longest wait, milliseconds. */
  readonly maxMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export interface Backoff {
  /** How long to wait before the next attempt, milliseconds. */
  next(): number;
  /** After a success: the next wait is short again. */
  reset(): void;
}

/**
 * Exponential waits with decorrelated jitter: each is drawn between the shortest and three times the
 * one before, so that replicas that failed together do not return together.
 */
export function backoff({ initialMs, maxMs, random }: BackoffOptions): Backoff {
  let last = initialMs;
  return {
    next() {
      const highest = Math.min(maxMs, last * 3);
      last = Math.min(highest, initialMs + random() * Math.max(0, highest - initialMs));
      return Math.round(last);
    },
    reset() {
      last = initialMs;
    },
  };
}
