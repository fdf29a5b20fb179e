import { UsageError } from '../errors.ts';
import type { Config } from './config/schema.ts';
import type { TableConfig } from './config/table-schema.ts';
import type { Health } from './health.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import type { Role } from './run.ts';
import { wireDeltaFeed } from './wire-delta-feed.ts';
import { wirePostgresHistory } from './wire-postgres-history.ts';

/** What a program that runs the service in its own process may want to know as it happens. */
export interface ServiceHooks {
  readonly onPublished?: (published: { table: string; changes: number; lastVersion: number }) => void;
  /** One per applying transaction; from the event time of each change to its visibility. */
  readonly onApplied?: (applied: { table: string; latenciesMs: Float64Array }) => void;
}

export interface WireContext {
  readonly config: Config;
  readonly table: TableConfig;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health: Health;
  readonly hooks: ServiceHooks;
}

/** One role of one table, put together. */
export interface Part {
  /** Until the signal aborts and what was in hand is finished. */
  run(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export function wireTable(role: Role, context: WireContext): Part {
  switch (role) {
    case 'delta-feed':
      return wireDeltaFeed(context);
    case 'postgres-history':
      if (context.table.postgres.history !== 'scd2') throw notAHistory(context.table.name);
      return wirePostgresHistory(context);
    default:
      return role satisfies never;
  }
}

function notAHistory(table: string): UsageError {
  return new UsageError({
    code: 'HISTORY_KIND',
    message: `Table ${table} is declared with postgres.history: plain; the role postgres-history writes SCD Type 2 histories.`,
    remedy: `Declare postgres.history: scd2 for ${table}, or leave the role out with --only.`,
  });
}
