import { reactionTo } from '../error-policy.ts';
import { backoff, type Backoff } from '../flow/backoff.ts';
import { nextFeedState, type FeedEvent, type FeedState } from '../flow/feed-state.ts';
import { sleep } from '../flow/sleep.ts';
import type { Lease } from '../ports/leadership.ts';
import {
  DELTA_FEED_DEFAULTS,
  type DeltaFeedDeps,
  type DeltaFeedOptions,
  type FeedClock,
} from './delta-feed-deps.ts';
import { followTable } from './delta-feed-session.ts';

const REAL_CLOCK: FeedClock = { now: () => performance.now(), sleep };

/**
 * Publishes the changes of one Delta table, each exactly once, until the signal aborts; then ends the
 * transaction in hand and gives up the lease. Any number of processes may run it: one is active.
 * It never throws: failures show in `onState`, and are tried again by their kind.
 */
export async function runDeltaFeed(deps: DeltaFeedDeps, signal: AbortSignal): Promise<void> {
  const options = { ...DELTA_FEED_DEFAULTS, ...deps.options };
  const clock = deps.clock ?? REAL_CLOCK;
  const random = deps.random ?? Math.random;
  const waits = backoff({ initialMs: options.backoffInitialMs, maxMs: options.backoffMaxMs, random });
  const feed: Feed = { deps, options, clock, waits, signal, lease: null };
  let state: FeedState = { name: 'standby' };
  deps.onState?.(state);
  const apply = (event: FeedEvent): void => {
    const next = nextFeedState(state, event);
    if (next === state) return;
    state = next;
    deps.onState?.(state);
  };
  try {
    while (!signal.aborted) apply(await step(feed, state, apply));
  } finally {
    await releaseLease(feed);
    await deps.log.close().catch(() => {});
  }
}

interface Feed {
  readonly deps: DeltaFeedDeps;
  readonly options: DeltaFeedOptions;
  readonly clock: FeedClock;
  readonly waits: Backoff;
  readonly signal: AbortSignal;
  lease: Lease | null;
}

/** Does what the state asks for; resolves with what came of it. */
async function step(feed: Feed, state: FeedState, apply: (event: FeedEvent) => void): Promise<FeedEvent> {
  switch (state.name) {
    case 'standby':
      return acquireLease(feed);
    case 'starting':
    case 'polling':
      return follow(feed, () => apply({ name: 'opened' }));
    case 'backing-off':
      return pause(feed, feed.waits.next());
    case 'stopped':
      return pause(feed, feed.options.stoppedRetryMs);
  }
}

async function acquireLease(feed: Feed): Promise<FeedEvent> {
  const { deps, clock, waits, signal } = feed;
  try {
    if (feed.lease !== null) {
      await releaseLease(feed);
      // Fenced while the lease was ours: without a pause two such processes would fence each other without end.
      await clock.sleep(waits.next(), signal);
    }
    feed.lease = await deps.leadership.acquire(`delta-feed/${deps.mapping.name}`, signal);
    return { name: 'lease-acquired' };
  } catch (error) {
    return signal.aborted ? { name: 'lease-lost' } : eventOf(error);
  }
}

async function follow(feed: Feed, onOpened: () => void): Promise<FeedEvent> {
  const { deps, options, clock, waits } = feed;
  const work = workSignal(feed);
  try {
    await followTable({ ...deps, options, clock, onOpened, onAlive: () => waits.reset() }, work);
    return { name: 'lease-lost' };
  } catch (error) {
    return work.aborted ? { name: 'lease-lost' } : eventOf(error);
  }
}

async function pause(feed: Feed, ms: number): Promise<FeedEvent> {
  const work = workSignal(feed);
  await feed.clock.sleep(ms, work);
  return { name: work.aborted ? 'lease-lost' : 'wait-over' };
}

/** Aborts when the feed has to end and when the lease is lost. */
function workSignal({ signal, lease }: Feed): AbortSignal {
  return lease === null ? signal : AbortSignal.any([signal, lease.lost]);
}

async function releaseLease(feed: Feed): Promise<void> {
  const { lease } = feed;
  feed.lease = null;
  await lease?.release().catch(() => {});
}

function eventOf(error: unknown): FeedEvent {
  const reaction = reactionTo(error);
  switch (reaction) {
    case 'retry':
      return { name: 'failed', error };
    case 'drop':
      return { name: 'fenced' };
    case 'stop':
    case 'dead-letter':
    case 'exit':
      return { name: 'halted', error };
  }
}
