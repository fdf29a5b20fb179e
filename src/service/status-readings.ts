import type { Databricks } from '../connections/databricks/client.ts';
import { createDeltaSource } from '../connections/databricks/delta-source.ts';
import { lagBehind, type Lag, type RangeCheck } from '../connections/kafka/lag.ts';
import { latestPosition } from '../connections/kafka/latest-position.ts';
import { translatePostgres } from '../connections/postgres/errors.ts';
import { readGroup, readPendingMerge } from '../connections/postgres/control-state.ts';
import { isLeaseHeld } from '../connections/postgres/leadership.ts';
import { countBetween } from '../connections/postgres/load-edits.ts';
import { createLoads, type LoadsOptions } from '../connections/postgres/loads.ts';
import { logPartitions } from '../connections/postgres/log-partitions.ts';
import { outOfRange } from '../consumers/partition-state.ts';
import { hasPublished, parseFeedPosition } from '../flow/feed-position.ts';
import { isUnderWay, type LoadPhase } from '../flow/load-state.ts';
import { parseLogPosition, SEES_NOTHING } from '../flow/log-position.ts';
import type { Position } from '../ports/change-log.ts';
import type { LoadSeen } from '../ports/load.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';
import { historyGroup, loadsOptions, mergeGroup, mergeSink } from './loads-options.ts';
import type { System } from './status.ts';

export interface DeltaFeedReading {
  /** Whether some process leads it at this moment; null: not known. */
  readonly running: boolean | null;
  /** The version up to which everything is published; null: nothing yet. */
  readonly version: number | null;
  /** The newest version of the Delta table; null: not asked, or not known. */
  readonly latest: number | null;
}

export interface PostgresLogReading {
  readonly running: boolean | null;
  /** Rows of the log that are committed and not published, counted up to 10,000. */
  readonly unpublished: number | null;
  readonly atLeast: boolean;
  readonly partitions: number | null;
  readonly bytes: number | null;
}

export interface SinkReading {
  readonly group: string;
  /** What lies before it on the topic; null: not known. */
  readonly lag: Lag | null;
  /** ISO text. */
  readonly movedAt: string | null;
  /** The load that it waits for. */
  readonly heldBy: string | null;
}

export interface MergeReading extends SinkReading {
  /** Since when a merge has been under way, or not known to have ended. ISO text. */
  readonly mergingSince: string | null;
}

export interface LoadReading extends LoadSeen {
  readonly id: string;
  readonly source: 'delta' | 'postgres' | 'topic';
  readonly way: 'fill' | 'reconcile';
  readonly phase: LoadPhase;
  /** Whether a process carries it out at this moment; null: not known. */
  readonly running: boolean | null;
  readonly version: number | null;
  readonly totalRows: number | null;
  readonly published: number;
  readonly rejected: number;
  readonly applied: number;
  readonly startedAt: string;
  readonly error: string | null;
}

/** Everything that can be known of one table; each reading asks on its own, and never throws. Null: nothing is known. */
export interface TableReadings {
  deltaFeed(): Promise<DeltaFeedReading | null>;
  postgresLog(): Promise<PostgresLogReading>;
  postgresHistory(): Promise<SinkReading | null>;
  deltaMerge(): Promise<MergeReading | null>;
  load(): Promise<LoadReading | null>;
}

export interface TableReadingsOptions {
  readonly config: Config;
  readonly table: TableConfig;
  readonly kafka: Parameters<typeof latestPosition>[0];
  readonly pool: LoadsOptions['pool'];
  /** Null: it is not asked. */
  readonly databricks: Databricks | null;
  /** Does it, and answers null where that failed. */
  readonly asked: <T>(system: System, reading: () => Promise<T>) => Promise<T | null>;
  readonly signal: AbortSignal;
}

export function createTableReadings(options: TableReadingsOptions): TableReadings {
  const { config, table, kafka, pool, databricks, asked, signal } = options;
  const { name, topic } = table;

  const running = (lease: string): Promise<boolean | null> =>
    asked('postgres', () => isLeaseHeld(pool, `${lease}/${name}`));
  /** `stored`: null where there is none yet. */
  const position = <T>(producer: string, parse: (stored: Position, table: string) => T) =>
    asked('kafka', async () => {
      const owner = `${producer}/${name}`;
      const stored = await latestPosition(kafka, { topic: config.topics.positions, owner });
      return { stored: stored === null ? null : parse(stored, name) };
    });

  const looking = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw translatePostgres(error, { doing: 'looking at the log', table: table.postgres.table });
    });

  async function sink(
    group: string,
    target: string,
    loadFrom: 'delta' | 'postgres',
  ): Promise<SinkReading | null> {
    const state = await asked('postgres', () => readGroup(pool, group, topic));
    if (state === null) return null;
    const check: RangeCheck = (partition, offset, range) => {
      const problem = outOfRange({ topic, partition, offset, table: name, target, loadFrom }, range);
      if (problem !== null) throw problem;
    };
    const lag = await asked('kafka', () => lagBehind(kafka, topic, state.next, check, signal));
    return { group, lag, movedAt: state.movedAt, heldBy: state.heldBy };
  }

  return {
    async deltaFeed() {
      const [leads, found, commits] = await Promise.all([
        running('delta-feed'),
        position('delta-feed', parseFeedPosition),
        databricks === null
          ? null
          : asked('databricks', () =>
              createDeltaSource({
                client: databricks,
                table: table.delta.table,
                mapping: mappingOf(table),
              }).commits(1),
            ),
      ]);
      if (found === null) return null;
      return {
        running: leads,
        version: found.stored === null || !hasPublished(found.stored) ? null : found.stored.version,
        latest: commits?.[0]?.version ?? null,
      };
    },

    async postgresLog() {
      const [leads, found, size] = await Promise.all([
        running('postgres-log'),
        position('postgres-log', parseLogPosition),
        asked('postgres', () => looking(logPartitions(pool, name).size())),
      ]);
      const from = found === null ? null : (found.stored?.acknowledged ?? SEES_NOTHING);
      const behind =
        from === null
          ? null
          : await asked('postgres', async () =>
              countBetween(pool, name, from, await looking(logPartitions(pool, name).snapshot())),
            );
      return {
        running: leads,
        unpublished: behind?.rows ?? null,
        atLeast: behind?.atLeast === true,
        partitions: size?.partitions ?? null,
        bytes: size?.bytes ?? null,
      };
    },

    postgresHistory: () => sink(historyGroup(config, table), 'the history', 'delta'),

    async deltaMerge() {
      const [reading, mergingSince] = await Promise.all([
        sink(mergeGroup(config, table), 'the Delta table', 'postgres'),
        asked('postgres', () => readPendingMerge(pool, mergeSink(config, table))),
      ]);
      return reading === null ? null : { ...reading, mergingSince };
    },

    async load() {
      const load = await asked('postgres', () =>
        createLoads({ pool, ...loadsOptions(config, table) }).newest(),
      );
      if (load === null) return null;
      return {
        id: load.id,
        source: load.source,
        way: load.way,
        phase: load.phase,
        running: isUnderWay(load.phase) ? await running('backfill') : false,
        version: load.pinned?.version ?? null,
        totalRows: load.pinned?.rows ?? null,
        published: load.publishedRows,
        rejected: load.rejectedRows,
        applied: load.appliedRows,
        startedAt: load.startedAt,
        ...load.seen,
        error: load.error,
      };
    },
  };
}
