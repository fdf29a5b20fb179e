import { Writable } from 'node:stream';
import pino from 'pino';
import type { Config } from '../../src/service/config/schema.ts';
import { ROLES, runService, type Role, type ServiceOptions } from '../../src/service/run.ts';
import { until } from './until.ts';
import type { LogLine } from './worker.ts';

/** Settings under which the service recovers within a test's patience. */
export const QUICK = {
  delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 200, lockTimeoutMs: 300 },
  // Asking Delta more often takes time from all tests: they share the machine.
  polling: { minMs: 50, maxMs: 400 },
};

export interface Ready {
  readonly status: number;
  readonly ready: boolean;
  readonly draining: boolean;
  readonly parts: Readonly<
    Record<string, { state: string; ready: boolean; code?: string; error?: string; remedy?: string }>
  >;
}

/** The real service inside the test's own process. */
export interface RunningService {
  /** Its log, debug lines included. */
  readonly lines: readonly LogLine[];
  /** Address of its health and metrics. */
  readonly url: string;
  readyz(): Promise<Ready>;
  /** Sum of the samples of a metric with these labels; null where there is none. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number | null>;
  /** Drains it; rejects where the service did. */
  stop(): Promise<void>;
}

export async function startService(
  config: Config,
  { roles = ROLES, hooks }: { roles?: readonly Role[]; hooks?: ServiceOptions['hooks'] } = {},
): Promise<RunningService> {
  const lines: LogLine[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(JSON.parse(chunk.toString()) as LogLine);
      done();
    },
  });
  const stop = new AbortController();
  const ended = runService({
    // Any free port: several services run at a time.
    config: { ...config, http: { ...config.http, port: 0 } },
    roles,
    logger: pino({ level: 'debug', base: null }, sink),
    signal: stop.signal,
    ...(hooks === undefined ? {} : { hooks }),
  });
  // Told by whoever waits for it.
  ended.catch(() => {});
  const url = await Promise.race([urlOf(lines), ended.then(() => Promise.reject(new Error('it ended')))]);
  const end = () => {
    stop.abort();
    return ended;
  };
  return { lines, url, ...healthOf(url), stop: end };
}

/** Where a service says that it serves its metrics and health. */
export function urlOf(lines: readonly LogLine[]): Promise<string> {
  return until(
    'the address of /readyz in the log',
    () => lines.find(({ msg }) => msg.startsWith('serving /metrics'))?.['url'] as string | undefined,
  );
}

export function healthOf(url: string): Pick<RunningService, 'readyz' | 'metric'> {
  return {
    async readyz() {
      const response = await fetch(`${url}/readyz`);
      return { status: response.status, ...((await response.json()) as Omit<Ready, 'status'>) };
    },
    async metric(name, labels = {}) {
      const text = await (await fetch(`${url}/metrics`)).text();
      const samples = text.split('\n').flatMap((line) => {
        const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
        const fits = Object.entries(labels).every(([label, value]) =>
          match?.[2]?.includes(`${label}="${value}"`),
        );
        return match?.[1] === name && fits ? [Number(match[3])] : [];
      });
      return samples.length === 0 ? null : samples.reduce((sum, value) => sum + value, 0);
    },
  };
}
