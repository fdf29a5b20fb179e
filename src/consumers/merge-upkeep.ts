import type { MergeSink } from '../ports/merge-sink.ts';

export interface MergeUpkeepOptions {
  readonly sink: MergeSink;
  /** How often, milliseconds; 0: never. */
  readonly everyMs: number;
  /** Milliseconds that never go back. */
  readonly clock: () => number;
  readonly onFailed: (error: unknown) => void;
}

/** Puts the table's small files together, in quiet moments only. */
export interface MergeUpkeep {
  /** To be called while there is nothing to merge. Answers in how many milliseconds to call again. */
  tend(signal: AbortSignal): Promise<number>;
  /** There is something to merge: what is under way ends, and is done in a later quiet moment. */
  giveWay(): void;
  /** A merge has written: there may be small files. */
  merged(): void;
}

export function createMergeUpkeep({ sink, everyMs, clock, onFailed }: MergeUpkeepOptions): MergeUpkeep {
  let underWay: AbortController | null = null;
  let doneAt = clock();
  let needed = false;

  async function optimize(signal: AbortSignal): Promise<void> {
    const ending = new AbortController();
    underWay = ending;
    needed = false;
    try {
      await sink.optimize(AbortSignal.any([signal, ending.signal]));
    } catch (error) {
      if (!ending.signal.aborted && !signal.aborted) onFailed(error);
    }
    underWay = null;
    doneAt = clock();
    if (!ending.signal.aborted) return;
    needed = true;
    // Sooner than usual, but not in every breath between two merges.
    doneAt -= everyMs * 0.9;
  }

  return {
    async tend(signal) {
      if (everyMs <= 0 || !needed) return Infinity;
      const wait = doneAt + everyMs - clock();
      if (wait > 0) return wait;
      await optimize(signal);
      return 0;
    },
    giveWay: () => underWay?.abort(),
    merged: () => {
      needed = true;
    },
  };
}
