import { TransientError } from '../../errors.ts';
import { within } from '../../flow/within.ts';

export interface Deadline {
  readonly ms: number;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
}

/** The answer, or a TransientError that tells what took longer than `ms`, or the signal's reason. */
export function answered<T>(work: Promise<T>, { ms, doing, signal }: Deadline): Promise<T> {
  const late = () =>
    new TransientError({
      code: 'DATABRICKS_TIMEOUT',
      message: `Databricks, while ${doing}: no answer within ${Math.round(ms / 100) / 10} s.`,
    });
  return within(work, ms, late, signal);
}
