import type { Config } from '../service/config/schema.ts';
import type { Logger } from '../service/logger.ts';
import { runService, type Role } from '../service/run.ts';
import { Latencies } from './report.ts';

export type Producer = 'delta-feed' | 'postgres-log';
export type Sink = 'postgres-history' | 'delta-merge';

/** What one producer has published so far. */
export interface PublishedSoFar {
  changes: number;
  /** Delta commit version up to which everything is published; -1 before the first, and from Postgres. */
  version: number;
}

/** What one sink has applied so far. */
export interface AppliedSoFar {
  changes: number;
  readonly latencies: Latencies;
}

/** The service at work, and what it tells of its progress. */
export interface LiveService {
  readonly published: Readonly<Record<Producer, PublishedSoFar>>;
  readonly applied: Readonly<Record<Sink, AppliedSoFar>>;
  /**
   * Does the work while the service runs; rejects when the service ends before it. `onProgress` is
   * called whenever something has been published or applied.
   */
  during<T>(work: () => Promise<T>, onProgress: () => void): Promise<T>;
  /** Resolves when the condition holds, or after a minute without: a comparison then says what is missing. */
  settled(condition: () => boolean): Promise<void>;
  stop(): Promise<void>;
}

const SETTLE_TIMEOUT_MS = 60_000;

export function startService({
  config,
  roles,
  logger,
  signal,
}: {
  readonly config: Config;
  readonly roles: readonly Role[];
  readonly logger: Logger;
  readonly signal: AbortSignal;
}): LiveService {
  const published = {
    'delta-feed': { changes: 0, version: -1 },
    'postgres-log': { changes: 0, version: -1 },
  };
  const applied = {
    'postgres-history': { changes: 0, latencies: new Latencies() },
    'delta-merge': { changes: 0, latencies: new Latencies() },
  };
  const progress = new EventTarget();
  const tell = () => progress.dispatchEvent(new Event('progress'));
  const stop = new AbortController();
  const service = runService({
    config,
    roles,
    logger,
    signal: AbortSignal.any([signal, stop.signal]),
    hooks: {
      onPublished({ producer, changes, version }) {
        published[producer].changes += changes;
        published[producer].version = version ?? -1;
        tell();
      },
      onApplied({ sink, latenciesMs }) {
        applied[sink].changes += latenciesMs.length;
        for (const ms of latenciesMs) applied[sink].latencies.add(ms);
        tell();
      },
    },
  });
  // Heard by whoever waits for it; until then it is not unhandled.
  service.catch(() => {});

  return {
    published,
    applied,
    async during(work, onProgress) {
      progress.addEventListener('progress', onProgress);
      try {
        const ended = service.then((): never => {
          signal.throwIfAborted();
          throw new Error('the service ended by itself');
        });
        return await Promise.race([work(), ended]);
      } finally {
        progress.removeEventListener('progress', onProgress);
      }
    },
    settled: (condition) =>
      new Promise((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          progress.removeEventListener('progress', check);
          signal.removeEventListener('abort', finish);
          resolve();
        };
        const check = () => condition() && finish();
        const timer = setTimeout(finish, SETTLE_TIMEOUT_MS);
        progress.addEventListener('progress', check);
        signal.addEventListener('abort', finish, { once: true });
        check();
      }),
    async stop() {
      stop.abort();
      await service;
    },
  };
}
