import { within } from '../flow/within.ts';

/** So much longer than usual, and this much more, is long. */
const LONG_FACTOR = 2;
const LONG_MORE_MS = 50;
/** The usual time follows the quickest look, and creeps up where none is as quick any more. */
const CREEP = 1.25;
/** What the first look takes is usual. */
const ANY_MS = 3_600_000;

/**
 * Begins a look, or waits on for the one that goes on; resolves with whether it has ended in about the time that
 * looks take. One look at a time. Throws the look's failure, or the signal's reason.
 */
export function createLooks(look: () => Promise<void>): (signal: AbortSignal) => Promise<boolean> {
  let usualMs = ANY_MS;
  let looking: Promise<void> | null = null;

  async function timed(): Promise<void> {
    const began = performance.now();
    try {
      await look();
      usualMs = Math.min(performance.now() - began, usualMs * CREEP);
    } finally {
      looking = null;
    }
  }

  return async (signal) => {
    looking ??= timed();
    const late = new Error('still looking');
    try {
      await within(looking, usualMs * LONG_FACTOR + LONG_MORE_MS, () => late, signal);
      return true;
    } catch (error) {
      if (error === late) return false;
      throw error;
    }
  };
}
