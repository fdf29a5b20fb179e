import type { FeedState } from '../../src/flow/feed-state.ts';
import { sleep } from '../../src/flow/sleep.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import type { Leadership } from '../../src/ports/leadership.ts';
import type { LogFacts, PostgresLog, Snapshot } from '../../src/ports/postgres-log.ts';
import { runPostgresLog } from '../../src/producers/postgres-log.ts';
import type { PostgresLogFeedOptions, PublishedLog } from '../../src/producers/postgres-log-deps.ts';
import type { FeedClock } from '../../src/producers/producer-life.ts';
import { until } from './fake-log.ts';

export interface LogRunSetup {
  readonly table: string;
  readonly source: PostgresLog;
  readonly log: ChangeLog;
  readonly leadership: Leadership;
  readonly options?: Partial<PostgresLogFeedOptions>;
  readonly loadedTo?: (since: string) => Promise<Snapshot | null>;
  readonly newestLoad?: () => Promise<string>;
  /** Default: the real one. */
  readonly clock?: FeedClock;
}

/** A log poller that runs beside the test, with what it said about itself. */
export interface LogRun {
  readonly states: FeedState[];
  readonly published: PublishedLog[];
  readonly facts: LogFacts[];
  state(): FeedState;
  /** Waits until it is in this state. */
  reaches(name: FeedState['name']): Promise<void>;
  drain(): Promise<void>;
}

export function startLogPoller(setup: LogRunSetup): LogRun {
  const ended = new AbortController();
  const states: FeedState[] = [];
  const published: PublishedLog[] = [];
  const facts: LogFacts[] = [];
  const running = runPostgresLog(
    {
      clock: { now: () => performance.now(), sleep },
      random: () => 0.5,
      ...setup,
      onState: (state) => states.push(state),
      onPublished: (each) => published.push(each),
      onPolled: (each) => facts.push(each),
    },
    ended.signal,
  );
  const state = (): FeedState => states.at(-1) ?? { name: 'standby' };
  return {
    states,
    published,
    facts,
    state,
    reaches: (name) => until(() => state().name === name, `the poller is ${name} (it is ${state().name})`),
    async drain() {
      ended.abort();
      await running;
    },
  };
}
