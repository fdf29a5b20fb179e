import { reactionTo } from '../error-policy.ts';
import { backoff, type Backoff } from '../flow/backoff.ts';
import { nextFeedState, type FeedEvent, type FeedState } from '../flow/feed-state.ts';
import { sleep } from '../flow/sleep.ts';
import type { ChangeLog } from '../ports/change-log.ts';
import type { Leadership, Lease } from '../ports/leadership.ts';

/** Time, so that tests need none. */
export interface FeedClock {
  /** Milliseconds that never go backwards. */
  now(): number;
  /** Resolves after so many milliseconds or once the signal aborts; never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const REAL_CLOCK: FeedClock = { now: () => performance.now(), sleep };

export interface ProducerLife {
  /** Whoever holds it is the one that is active. */
  readonly leaseName: string;
  readonly leadership: Leadership;
  readonly log: ChangeLog;
  readonly clock: FeedClock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly backoffInitialMs: number;
  readonly backoffMaxMs: number;
  /** How often a stopped producer is tried again. */
  readonly stoppedRetryMs: number;
  readonly onState: ((state: FeedState) => void) | undefined;
  /**
   * From opening the log to the first failure, which it throws, or the signal, on which it returns after the
   * transaction in hand.
   */
  follow(session: Session, signal: AbortSignal): Promise<void>;
}

export interface Session {
  /** Log and table have answered. */
  readonly onOpened: () => void;
  /** After every look at the table that succeeded. */
  readonly onAlive: () => void;
}

/**
 * The life of a producer: waits for the lease, follows its table, backs off, stops and comes back, until the
 * signal aborts; then the transaction in hand ends and the lease is given up. Any number of processes may
 * run it: one is active. It never throws: failures show in `onState`, and are tried again by their kind.
 */
export async function runProducer(life: ProducerLife, signal: AbortSignal): Promise<void> {
  const waits = backoff({ initialMs: life.backoffInitialMs, maxMs: life.backoffMaxMs, random: life.random });
  const producer: Producer = { life, waits, signal, lease: null };
  let state: FeedState = { name: 'standby' };
  life.onState?.(state);
  const apply = (event: FeedEvent): void => {
    const next = nextFeedState(state, event);
    if (next === state) return;
    state = next;
    life.onState?.(state);
  };
  try {
    while (!signal.aborted) apply(await step(producer, state, apply));
  } finally {
    await releaseLease(producer);
    await life.log.close().catch(() => {});
  }
}

interface Producer {
  readonly life: ProducerLife;
  readonly waits: Backoff;
  readonly signal: AbortSignal;
  lease: Lease | null;
}

/** Does what the state asks for; resolves with what came of it. */
async function step(
  producer: Producer,
  state: FeedState,
  apply: (event: FeedEvent) => void,
): Promise<FeedEvent> {
  switch (state.name) {
    case 'standby':
      return acquireLease(producer);
    case 'starting':
    case 'polling':
      return follow(producer, () => apply({ name: 'opened' }));
    case 'backing-off':
      return pause(producer, producer.waits.next());
    case 'stopped':
      return pause(producer, producer.life.stoppedRetryMs);
  }
}

async function acquireLease(producer: Producer): Promise<FeedEvent> {
  const { life, waits, signal } = producer;
  try {
    if (producer.lease !== null) {
      await releaseLease(producer);
      // Fenced while the lease was ours: without a pause two such processes would fence each other without end.
      await life.clock.sleep(waits.next(), signal);
    }
    producer.lease = await life.leadership.acquire(life.leaseName, signal);
    return { name: 'lease-acquired' };
  } catch (error) {
    return signal.aborted ? { name: 'lease-lost' } : eventOf(error);
  }
}

async function follow(producer: Producer, onOpened: () => void): Promise<FeedEvent> {
  const work = workSignal(producer);
  try {
    await producer.life.follow({ onOpened, onAlive: () => producer.waits.reset() }, work);
    return { name: 'lease-lost' };
  } catch (error) {
    return work.aborted ? { name: 'lease-lost' } : eventOf(error);
  }
}

async function pause(producer: Producer, ms: number): Promise<FeedEvent> {
  const work = workSignal(producer);
  await producer.life.clock.sleep(ms, work);
  return { name: work.aborted ? 'lease-lost' : 'wait-over' };
}

/** Aborts when the producer has to end and when the lease is lost. */
function workSignal({ signal, lease }: Producer): AbortSignal {
  return lease === null ? signal : AbortSignal.any([signal, lease.lost]);
}

async function releaseLease(producer: Producer): Promise<void> {
  const { lease } = producer;
  producer.lease = null;
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
