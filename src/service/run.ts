import { FencedError, OperatorError, UsageError } from '../errors.ts';
import { Health, serveHealth } from './health.ts';
import type { Logger } from './logger.ts';
import { createMetrics } from './metrics.ts';
import type { Config } from './config/schema.ts';
import { concerns, wireTable, type ServiceHooks } from './wire.ts';

export const ROLES = ['delta-feed', 'postgres-log', 'postgres-history', 'delta-merge'] as const;
export type Role = (typeof ROLES)[number];

export interface ServiceOptions {
  readonly config: Config;
  /** The roles to run in this process, for every table whose changes go their way. */
  readonly roles: readonly Role[];
  readonly logger: Logger;
  /** Aborting drains: what is in hand is finished, leases and partitions are given back. */
  readonly signal: AbortSignal;
  /** Told of progress, beside the metrics. */
  readonly hooks?: ServiceHooks;
}

/**
 * Runs until the signal aborts and everything has drained. Rejects when draining takes longer than
 * `delivery.drainTimeoutMs` or a loop ends by itself, which none should.
 */
export async function runService({
  config,
  roles,
  logger,
  signal,
  hooks = {},
}: ServiceOptions): Promise<void> {
  if (!config.tables.some((table) => roles.some((role) => concerns(role, table)))) throw nothingToDo(roles);
  const health = new Health();
  const metrics = createMetrics();
  const server = config.http.enabled ? await serveHealth(config.http, health, metrics.registry) : null;
  if (server !== null) logger.info({ url: server.url }, 'serving /metrics, /livez and /readyz');
  const stop = new AbortController();
  const drain = () => {
    health.drain();
    logger.info('draining');
    stop.abort(new FencedError({ code: 'DRAINING', message: 'the service is stopping' }));
  };
  if (signal.aborted) drain();
  else signal.addEventListener('abort', drain, { once: true });
  try {
    const parts = config.tables.flatMap((table) =>
      roles
        .filter((role) => concerns(role, table))
        .map((role) => ({
          role,
          table,
          part: wireTable(role, { table, config, logger, metrics, health, hooks }),
        })),
    );
    const running = parts.map(async ({ role, table, part }) => {
      logger.info({ role, table: table.name }, 'starting');
      try {
        await part.run(stop.signal);
      } finally {
        await part.close();
      }
      logger.info({ role, table: table.name }, 'stopped');
    });
    await settle(running, stop, config.delivery.drainTimeoutMs);
  } finally {
    signal.removeEventListener('abort', drain);
    await server?.close();
  }
}

function nothingToDo(roles: readonly Role[]): UsageError {
  return new UsageError({
    code: 'NOTHING_TO_DO',
    message: `No table's direction has anything to do for: ${roles.join(', ')}.`,
    remedy:
      'Set the direction of a table to both or to the way of these roles, or name other roles with --only.',
  });
}

async function settle(
  running: readonly Promise<void>[],
  stop: AbortController,
  drainTimeoutMs: number,
): Promise<void> {
  const all = Promise.allSettled(running);
  try {
    await Promise.race([Promise.all(running), drainDeadline(stop.signal, drainTimeoutMs, all)]);
  } catch (error) {
    stop.abort(error);
    await Promise.race([all, drainDeadline(stop.signal, drainTimeoutMs, all)]);
    throw error;
  }
}

/** Rejects when the drain has begun and is not over in time. */
function drainDeadline(signal: AbortSignal, ms: number, all: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const begin = () => {
      timer = setTimeout(
        () =>
          reject(
            new OperatorError({
              code: 'DRAIN_TIMEOUT',
              message: `work in hand was not finished within ${ms} ms after the stop signal`,
              remedy:
                'Nothing is lost: it is done again at the next start. Raise delivery.drainTimeoutMs if it happens often.',
            }),
          ),
        ms,
      );
    };
    if (signal.aborted) begin();
    else signal.addEventListener('abort', begin, { once: true });
    void all.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
