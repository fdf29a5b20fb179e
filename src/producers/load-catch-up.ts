import { reactionTo } from '../error-policy.ts';
import { persist } from '../flow/persist.ts';
import { sleep } from '../flow/sleep.ts';
import type { Loads, LoadTopics, PinnedVersion } from '../ports/load.ts';

export interface LoadCatchUpDeps {
  readonly loads: Pick<Loads, 'consumers'>;
  readonly topics: Pick<LoadTopics, 'changesEnds' | 'changesBetween' | 'feedVersion'>;
  readonly onRetry: (error: unknown) => void;
  readonly random?: (() => number) | undefined;
}

const ASK_AGAIN_MS = 300;
/** Offsets that are worth looking at: there may be no change in them. */
const CLOSE = 1000n;

/**
 * Waits until the table has every change up to the version: the feed has published them, and the consumers have
 * applied what it had published then. What differs from the load after that is what no change tells.
 */
export async function caughtUp(
  deps: LoadCatchUpDeps,
  { tableId, version }: PinnedVersion,
  signal: AbortSignal,
): Promise<void> {
  const { loads, topics } = deps;
  const trying = <T>(work: () => Promise<T>): Promise<T> =>
    persist(
      work,
      {
        mayPass: (error) => reactionTo(error) === 'retry',
        onRetry: deps.onRetry,
        random: deps.random ?? Math.random,
      },
      signal,
    );
  /** Asks until the answer is yes. */
  async function asking(question: () => Promise<boolean>): Promise<void> {
    while (!(await trying(question))) {
      await sleep(ASK_AGAIN_MS, signal);
      signal.throwIfAborted();
    }
  }

  await asking(async () => ((await topics.feedVersion(tableId)) ?? -1) >= version);
  const ends = await trying(() => topics.changesEnds());
  await asking(async () => {
    const at = await loads.consumers();
    if (at.size !== ends.length) return false;
    const behind = new Map([...at].filter(([partition, next]) => next < (ends[partition] ?? 0n)));
    if ([...behind].some(([partition, next]) => (ends[partition] ?? 0n) - next > CLOSE)) return false;
    return behind.size === 0 || !(await topics.changesBetween(behind, ends, signal));
  });
}
