import { POSTGRES_LOG_DEFAULTS, type PostgresLogDeps } from './postgres-log-deps.ts';
import { followLog } from './postgres-log-session.ts';
import { REAL_CLOCK, runProducer } from './producer-life.ts';

/**
 * Publishes what the triggers of one Postgres table have logged, each change exactly once, until the signal
 * aborts; then ends the transaction in hand and gives up the lease. Any number of processes may run it: one
 * is active. It never throws: failures show in `onState`, and are tried again by their kind.
 */
export async function runPostgresLog(deps: PostgresLogDeps, signal: AbortSignal): Promise<void> {
  const options = { ...POSTGRES_LOG_DEFAULTS, ...deps.options };
  const clock = deps.clock ?? REAL_CLOCK;
  await runProducer(
    {
      leaseName: `postgres-log/${deps.table}`,
      leadership: deps.leadership,
      log: deps.log,
      clock,
      random: deps.random ?? Math.random,
      backoffInitialMs: options.backoffInitialMs,
      backoffMaxMs: options.backoffMaxMs,
      stoppedRetryMs: options.stoppedRetryMs,
      onState: deps.onState,
      follow: (session, work) => followLog({ ...deps, ...session, options, clock }, work),
    },
    signal,
  );
}
