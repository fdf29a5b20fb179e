import { setTimeout as delay } from 'node:timers/promises';
import { openDatabricks } from '../connections/databricks/client.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { remedyFor } from '../error-policy.ts';
import { describeError, DeltaferryError, TransientError } from '../errors.ts';
import { comparedPerSecond, secondsLeft } from '../flow/load-estimate.ts';
import { within } from '../flow/within.ts';
import type { Config } from './config/schema.ts';
import type { TableConfig } from './config/table-schema.ts';
import { databricksOptions, kafkaOptions, postgresOptions } from './connect.ts';
import { createTableReadings, type LoadReading, type TableReadings } from './status-readings.ts';

export type System = 'postgres' | 'kafka' | 'databricks';

/** What could not be found out, and why. */
export interface Problem {
  readonly system: System;
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

type Found<T extends (...args: never[]) => Promise<unknown>> = Awaited<ReturnType<T>> | null;

/** Null: not known; left out: the table has no such role. */
export interface TableStatus {
  readonly table: string;
  readonly direction: TableConfig['direction'];
  readonly topic: string;
  readonly roles: {
    readonly 'delta-feed'?: Found<TableReadings['deltaFeed']>;
    readonly 'postgres-log'?: Found<TableReadings['postgresLog']>;
    readonly 'postgres-history'?: Found<TableReadings['postgresHistory']>;
    readonly 'delta-merge'?: Found<TableReadings['deltaMerge']>;
  };
  /** The newest load; null where there is none, or it is not known. */
  readonly load: LoadStatus | null;
}

export interface LoadStatus extends LoadReading {
  /** Null where nothing is to be counted at the moment. */
  readonly perSecond: LoadRates | null;
  /** Until live changes go on, about: the hand-over is in it. Null where nothing tells. */
  readonly secondsLeft: number | null;
}

/** Rows of the last moments; compared: since the comparison began. */
export interface LoadRates {
  readonly read: number;
  readonly published: number;
  readonly applied: number;
  readonly compared: number;
}

export interface Status {
  readonly tables: readonly TableStatus[];
  /** Empty: everything answered. */
  readonly problems: readonly Problem[];
}

export interface StatusOptions {
  readonly config: Config;
  readonly tables: readonly TableConfig[];
  /** Whether to ask the warehouse, which wakes one that sleeps. */
  readonly askDelta: boolean;
  /** How long each answer may take, milliseconds; default 20,000. */
  readonly patienceMs?: number | undefined;
}

const PATIENCE_MS = 20_000;
/** A load's speed is what it does in this time. */
const WATCHED_MS = 1_500;

/**
 * Where every role of the tables is, and their newest loads, from the control schema and the topics: no service has
 * to answer. Never throws for a system that does not: that is one of the problems.
 */
export async function readStatus(options: StatusOptions): Promise<Status> {
  const { config } = options;
  const kafka = openKafka(kafkaOptions(config));
  const pool = openPool({
    ...postgresOptions(config),
    applicationName: 'deltaferry status',
    maxConnections: 4,
  });
  const databricks = openDatabricks(databricksOptions(config));
  const problems = new Map<string, Problem>();
  const over = new AbortController();
  const patience = options.patienceMs ?? PATIENCE_MS;

  async function asked<T>(system: System, reading: () => Promise<T>): Promise<T | null> {
    try {
      return await within(reading(), patience, () => noAnswer(system, patience), over.signal);
    } catch (error) {
      const problem = problemOf(system, error);
      // A system that is out of reach is told once, whatever was asked of it.
      const passing = error instanceof DeltaferryError && error.kind === 'transient';
      const what = passing ? problem.code : problem.message;
      if (!problems.has(`${system} ${what}`)) problems.set(`${system} ${what}`, problem);
      return null;
    }
  }

  async function statusOf(table: TableConfig): Promise<TableStatus> {
    const { name, direction, topic } = table;
    const fromDelta = direction !== 'postgres-to-delta';
    const toDelta = direction !== 'delta-to-postgres';
    const readings = createTableReadings({
      config,
      table,
      kafka,
      pool,
      databricks: options.askDelta ? databricks : null,
      asked,
      signal: over.signal,
    });
    const [feed, log, history, merge, load] = await Promise.all([
      fromDelta ? readings.deltaFeed() : undefined,
      toDelta ? readings.postgresLog() : undefined,
      fromDelta ? readings.postgresHistory() : undefined,
      toDelta ? readings.deltaMerge() : undefined,
      watched(readings),
    ]);
    return {
      table: name,
      direction,
      topic,
      load,
      roles: {
        ...(feed === undefined ? {} : { 'delta-feed': feed }),
        ...(log === undefined ? {} : { 'postgres-log': log }),
        ...(history === undefined ? {} : { 'postgres-history': history }),
        ...(merge === undefined ? {} : { 'delta-merge': merge }),
      },
    };
  }

  try {
    const tables = await Promise.all(options.tables.map(statusOf));
    return { tables, problems: [...problems.values()] };
  } finally {
    over.abort(new Error('the status has been told'));
    // Whoever does not answer does not take leave either; the command ends all the same.
    await Promise.race([Promise.allSettled([pool.end(), databricks.close()]), delay(1_000)]);
  }
}

/** One that is loading is looked at twice. */
export async function watched(readings: Pick<TableReadings, 'load'>): Promise<LoadStatus | null> {
  const first = await readings.load();
  if (first === null) return null;
  if (!first.running || first.stage !== 'loading' || leftOf(first) <= 0)
    return told(first, comparing(first) ? { ...STILL, compared: comparedPerSecond(sinceOf(first)) } : null);
  const began = performance.now();
  await delay(WATCHED_MS);
  const second = await readings.load();
  if (second?.id !== first.id) return told(first, null);
  const took = (performance.now() - began) / 1000;
  // One that begins anew counts from nothing again.
  const rate = (of: 'read' | 'published' | 'applied'): number => Math.max(0, second[of] - first[of]) / took;
  return told(second, {
    ...STILL,
    read: rate('read'),
    published: rate('published'),
    applied: rate('applied'),
  });
}

const STILL: LoadRates = { read: 0, published: 0, applied: 0, compared: 0 };

const comparing = ({ running, compared }: LoadReading): boolean => running === true && compared > 0;

const sinceOf = ({ compared, stageSeconds }: LoadReading) => ({ compared, stageSeconds: stageSeconds ?? 0 });

const leftOf = ({ totalRows, rejected, applied }: LoadReading): number =>
  (totalRows ?? 0) - rejected - applied;

function told(load: LoadReading, perSecond: LoadRates | null): LoadStatus {
  const { running, stage, totalRows, rejected, applied, handoverSeconds } = load;
  const left =
    running === true && totalRows !== null
      ? secondsLeft({
          stage,
          applied,
          handoverSeconds,
          ...sinceOf(load),
          total: totalRows - rejected,
          appliedPerSecond: perSecond?.applied ?? 0,
        })
      : null;
  return { ...load, perSecond: rounded(perSecond), secondsLeft: left };
}

function rounded(rates: LoadRates | null): LoadRates | null {
  if (rates === null) return null;
  const { read, published, applied, compared } = rates;
  return {
    read: Math.round(read),
    published: Math.round(published),
    applied: Math.round(applied),
    compared: Math.round(compared),
  };
}

const NAMES: Readonly<Record<System, string>> = {
  postgres: 'Postgres',
  kafka: 'Kafka',
  databricks: 'Databricks',
};

function noAnswer(system: System, ms: number): TransientError {
  return new TransientError({
    code: 'NO_ANSWER',
    message: `${NAMES[system]} did not answer within ${Math.round(ms / 1000)} s.`,
  });
}

function problemOf(system: System, error: unknown): Problem {
  if (error instanceof DeltaferryError) {
    const { code, message, kind } = error;
    const unreachable = `Check that ${NAMES[system]} runs and can be reached from here.`;
    return { system, code, message, remedy: kind === 'transient' ? unreachable : remedyFor(error) };
  }
  return { system, code: 'UNEXPECTED', message: describeError(error), remedy: '' };
}
