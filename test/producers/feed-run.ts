import type { TableMapping } from '../../src/change/table.ts';
import type { LoadStart } from '../../src/flow/feed-jump.ts';
import type { FeedState } from '../../src/flow/feed-state.ts';
import type { LoadPhase } from '../../src/flow/load-state.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import type { DeltaSource } from '../../src/ports/delta-source.ts';
import type { Leadership } from '../../src/ports/leadership.ts';
import type { DeltaFeedOptions, Published } from '../../src/producers/delta-feed-deps.ts';
import { runDeltaFeed } from '../../src/producers/delta-feed.ts';
import type { FeedClock } from '../../src/producers/producer-life.ts';
import { tick, until } from './fake-log.ts';

export interface FeedRunSetup {
  readonly mapping: TableMapping;
  readonly source: DeltaSource;
  readonly log: ChangeLog;
  readonly leadership: Leadership;
  readonly options?: Partial<DeltaFeedOptions>;
  readonly clock?: FeedClock;
  readonly startAfter?: (tableId: string, since?: string) => Promise<LoadStart | null>;
  readonly loadPhase?: (began: string) => Promise<LoadPhase | null>;
  readonly newestLoad?: () => Promise<string>;
}

/** A feed that runs beside the test, with what it said about itself. */
export interface FeedRun {
  readonly states: FeedState[];
  readonly published: Published[];
  readonly polled: number[];
  state(): FeedState;
  /** Waits until it is in this state. */
  reaches(name: FeedState['name']): Promise<void>;
  drain(): Promise<void>;
}

/** Time passes only where the feed waits, and as fast as it waits. */
export function fakeClock(): FeedClock & { readonly slept: number[] } {
  const slept: number[] = [];
  let now = 0;
  return {
    slept,
    now: () => now,
    async sleep(ms) {
      slept.push(ms);
      now += ms;
      await tick();
    },
  };
}

export function startFeed(setup: FeedRunSetup): FeedRun {
  const ended = new AbortController();
  const states: FeedState[] = [];
  const published: Published[] = [];
  const polled: number[] = [];
  const running = runDeltaFeed(
    {
      origin: 'delta',
      clock: fakeClock(),
      random: () => 0.5,
      ...setup,
      onState: (state) => states.push(state),
      onPublished: (each) => published.push(each),
      onPolled: ({ latestVersion }) => polled.push(latestVersion),
    },
    ended.signal,
  );
  const state = (): FeedState => states.at(-1) ?? { name: 'standby' };
  return {
    states,
    published,
    polled,
    state,
    reaches: (name) => until(() => state().name === name, `the feed is ${name} (it is ${state().name})`),
    async drain() {
      ended.abort();
      await running;
    },
  };
}
