import { DELTA_FEED_DEFAULTS, type DeltaFeedDeps } from './delta-feed-deps.ts';
import { followTable } from './delta-feed-session.ts';
import { REAL_CLOCK, runProducer } from './producer-life.ts';

/**
 * Publishes the changes of one Delta table, each exactly once, until the signal aborts; then ends the
 * transaction in hand and gives up the lease. Any number of processes may run it: one is active.
 * It never throws: failures show in `onState`, and are tried again by their kind.
 */
export async function runDeltaFeed(deps: DeltaFeedDeps, signal: AbortSignal): Promise<void> {
  const options = { ...DELTA_FEED_DEFAULTS, ...deps.options };
  const clock = deps.clock ?? REAL_CLOCK;
  await runProducer(
    {
      leaseName: `delta-feed/${deps.mapping.name}`,
      leadership: deps.leadership,
      log: deps.log,
      clock,
      random: deps.random ?? Math.random,
      backoffInitialMs: options.backoffInitialMs,
      backoffMaxMs: options.backoffMaxMs,
      stoppedRetryMs: options.stoppedRetryMs,
      onState: deps.onState,
      follow: (session, work) => followTable({ ...deps, ...session, options, clock }, work),
    },
    signal,
  );
}
