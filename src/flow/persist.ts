import { backoff } from './backoff.ts';
import { sleep } from './sleep.ts';

export interface PersistOptions {
  /** Whether another try may succeed. */
  readonly mayPass: (error: unknown) => boolean;
  /** Told of each failure that is tried again, and after how many milliseconds. */
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
  /** Uniform in [0, 1), for jitter. */
  readonly random: () => number;
  readonly initialMs?: number | undefined;
  readonly maxMs?: number | undefined;
}

/**
 * Does the work until it succeeds or fails for good; throws the signal's reason where that aborts first.
 * `alive` is for long work: progress makes the next wait short again.
 */
export async function persist<T>(
  work: (alive: () => void) => Promise<T>,
  options: PersistOptions,
  signal: AbortSignal,
): Promise<T> {
  const waits = backoff({
    initialMs: options.initialMs ?? 100,
    maxMs: options.maxMs ?? 10_000,
    random: options.random,
  });
  for (;;) {
    signal.throwIfAborted();
    try {
      return await work(() => waits.reset());
    } catch (error) {
      if (signal.aborted || !options.mayPass(error)) throw error;
      const waitMs = waits.next();
      options.onRetry?.(error, waitMs);
      await sleep(waitMs, signal);
    }
  }
}
