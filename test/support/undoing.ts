import { after } from 'node:test';

/** Takes what was made and how it is undone; returns what was made. */
export type Later = <T>(made: T, undo: (made: T) => unknown) => T;

const UNDO_MS = 60_000;

/**
 * For the body of a `describe`: everything handed over is undone after its tests, the last first, however
 * they ended. What cannot be undone fails the suite, and does not keep the rest from being undone.
 */
export function undoing(): Later {
  const steps: (() => unknown)[] = [];
  after(
    async () => {
      const failures: unknown[] = [];
      for (const step of steps.reverse())
        try {
          await step();
        } catch (error) {
          failures.push(error);
        }
      if (failures.length > 0) throw new AggregateError(failures, 'tidying up after the tests failed');
    },
    { timeout: UNDO_MS },
  );
  return (made, undo) => {
    steps.push(() => undo(made));
    return made;
  };
}

/**
 * Does the step again and again beside the test. `stop` resolves when the last one has ended, and throws what
 * one of them threw; a test that fails stops it, too.
 */
export function repeating(
  later: Later,
  step: (n: number) => Promise<unknown>,
): { readonly stop: () => Promise<void> } {
  let stopped = false;
  const running = (async () => {
    for (let n = 0; !stopped; n++) await step(n);
  })();
  const stop = (): Promise<void> => {
    stopped = true;
    return running;
  };
  return later({ stop }, () => stop().catch(() => undefined));
}
