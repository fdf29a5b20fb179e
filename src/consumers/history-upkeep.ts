import { orAborted } from '../flow/abortable.ts';
import { sleep } from '../flow/sleep.ts';
import type { RememberedDeletes } from '../ports/remembered-deletes.ts';

export interface HistoryUpkeepOptions {
  readonly deletes: RememberedDeletes;
  /** How long the changes topic keeps its records, milliseconds; null: for ever. */
  readonly retentionMs: () => Promise<number | null>;
  /** Default 10 minutes. */
  readonly everyMs?: number;
  /** Between two steps of one round; default 100. */
  readonly pauseMs?: number;
  readonly onForgot?: (count: number) => void;
  readonly onFailed: (error: unknown) => void;
}

const EVERY_MS = 10 * 60_000;
const PAUSE_MS = 100;

/**
 * Now and then forgets the deletes for which no upsert can come any more, until the signal aborts. Never
 * rejects: the history is right without it, and a later round does what this one could not.
 */
export async function tendHistory(options: HistoryUpkeepOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await orAborted(forgetExpired(options, signal), signal);
    } catch (error) {
      if (!signal.aborted) options.onFailed(error);
    }
    await sleep(options.everyMs ?? EVERY_MS, signal);
  }
}

/**
 * Twice what the topic keeps: an upsert that is published within the retention after the delete may lie there, before
 * a sink that stands still, for as long again.
 */
async function forgetExpired(options: HistoryUpkeepOptions, signal: AbortSignal): Promise<void> {
  const retentionMs = await options.retentionMs();
  if (retentionMs === null) return;
  let all = 0;
  while (!signal.aborted) {
    const count = await options.deletes.forget(2 * retentionMs);
    if (count === 0) break;
    all += count;
    await sleep(options.pauseMs ?? PAUSE_MS, signal);
  }
  if (all > 0) options.onForgot?.(all);
}
