import type { Config } from './config/schema.ts';
import type { TableConfig } from './config/table-schema.ts';
import type { Health } from './health.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import type { Role } from './run.ts';
import { wireDeltaFeed } from './wire-delta-feed.ts';
import { wireDeltaMerge } from './wire-delta-merge.ts';
import { wirePostgresHistory } from './wire-postgres-history.ts';
import { wirePostgresLog } from './wire-postgres-log.ts';

/** What a program that runs the service in its own process may want to know as it happens. */
export interface ServiceHooks {
  readonly onPublished?: (published: {
    readonly table: string;
    readonly producer: 'delta-feed' | 'postgres-log';
    readonly changes: number;
    /** Delta commit version up to which everything is published; null from Postgres. */
    readonly version: number | null;
  }) => void;
  /** One per applying transaction or merge; from the event time of each change to its visibility. */
  readonly onApplied?: (applied: {
    readonly table: string;
    readonly sink: 'postgres-history' | 'delta-merge';
    readonly latenciesMs: Float64Array;
  }) => void;
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

/** Which way changes go with each role. */
export const DIRECTION_OF = {
  'delta-feed': 'delta-to-postgres',
  'postgres-history': 'delta-to-postgres',
  'postgres-log': 'postgres-to-delta',
  'delta-merge': 'postgres-to-delta',
} as const satisfies Record<Role, TableConfig['direction']>;

/** Whether a table's changes go the way of the role. */
export function concerns(role: Role, { direction }: TableConfig): boolean {
  return direction === 'both' || direction === DIRECTION_OF[role];
}

export function wireTable(role: Role, context: WireContext): Part {
  switch (role) {
    case 'delta-feed':
      return wireDeltaFeed(context);
    case 'postgres-log':
      return wirePostgresLog(context);
    case 'postgres-history':
      return wirePostgresHistory(context);
    case 'delta-merge':
      return wireDeltaMerge(context);
    default:
      return role satisfies never;
  }
}
