import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits until the condition gives a value that is not false, null or undefined, and returns it.
 * Fails with `what` and the last error after `timeoutMs`.
 */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  { timeoutMs = 120_000, everyMs = 20 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== false && value !== null && value !== undefined)
        return value as NonNullable<Exclude<T, false>>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline)
      throw new Error(
        `not within ${timeoutMs} ms: ${what}`,
        last === undefined ? undefined : { cause: last },
      );
    await delay(everyMs);
  }
}
