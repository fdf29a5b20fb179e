import { TransientError } from '../../errors.ts';

export interface Deadline {
  readonly ms: number;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The promise's result, or a TransientError after `ms`, or the signal's reason: whatever comes first.
 * The work itself goes on; what it leaves is the caller's to clean up.
 */
export async function within<T>(work: Promise<T>, { ms, doing, signal }: Deadline): Promise<T> {
  signal?.throwIfAborted();
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  const given = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const seconds = Math.round(ms / 100) / 10;
      reject(
        new TransientError({
          code: 'DATABRICKS_TIMEOUT',
          message: `Databricks, while ${doing}: no answer within ${seconds} s.`,
        }),
      );
    }, ms);
    onAbort = () => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, given]);
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    work.catch(() => {});
  }
}
