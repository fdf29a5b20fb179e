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
