import { remedyFor } from '../error-policy.ts';
import { DeltaferryError, describeError } from '../errors.ts';
import type { Health } from './health.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** The state a part is in, as logs, metrics and readiness show it. */
export interface PartState {
  readonly state: string;
  readonly error?: unknown;
}

// What a part is in before it has shown that it can work.
const BEGINNING: ReadonlySet<string> = new Set(['joining', 'starting']);

/** Tells logs, metrics and readiness of every state that a part takes on. */
export function partStates({
  health,
  metrics,
  logger,
}: {
  health: Health;
  metrics: Metrics;
  logger: Logger;
}) {
  const known = new Map<string, string>();

  function forget(part: string): void {
    const before = known.get(part);
    if (before !== undefined) metrics.partsByState.remove({ part, state: before });
    known.delete(part);
    health.remove(part);
  }

  return {
    report(part: string, { state, error }: PartState): void {
      const before = known.get(part);
      if (before !== undefined && before !== state) metrics.partsByState.remove({ part, state: before });
      known.set(part, state);
      metrics.partsByState.set({ part, state }, 1);
      const stopped = state === 'stopped';
      if (error === undefined) {
        health.set(part, { state, ready: !stopped && !BEGINNING.has(state) });
        if (before !== state) logger.info({ part, state }, `${part} is ${state}`);
        return;
      }
      const text = describeError(error);
      const remedy = remedyFor(error);
      const code = error instanceof DeltaferryError ? error.code : undefined;
      health.set(part, {
        state,
        ready: !stopped,
        ...(code === undefined ? {} : { code }),
        error: text,
        remedy,
      });
      const fields = { part, state, code, error: text, remedy };
      if (stopped)
        logger.error(code === undefined ? { ...fields, err: error } : fields, `${part} stopped: ${text}`);
      else logger.warn(fields, `${part} is ${state}: ${text}`);
    },
    forget,
  };
}
