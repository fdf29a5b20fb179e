import type { LoadTopicsOptions } from '../connections/kafka/load-topics.ts';
import type { LoadsOptions } from '../connections/postgres/loads.ts';
import { OperatorError } from '../errors.ts';
import type { Config } from './config/schema.ts';
import type { TableConfig } from './config/table-schema.ts';

/** The consumer group that applies a table's changes to its history. The id of the target is part of it: two targets never share one. */
export function historyGroup({ postgres }: Config, { name }: TableConfig): string {
  return `deltaferry.postgres-history.${postgres.id}.${name}`;
}

/** What merges a table's changes into Delta: neither two targets nor two deployments on one target share a name. */
export function mergeSink({ databricks, postgres }: Config, { name }: TableConfig): string {
  return `delta-merge.${databricks.id}.${postgres.id}.${name}`;
}

/** The consumer group of that sink. */
export function mergeGroup(config: Config, table: TableConfig): string {
  return `deltaferry.${mergeSink(config, table)}`;
}

/** Whether it is a group that merges the table into this Delta, be it another Postgres's: ids hold no dot. */
export function isMergeGroup(config: Config, table: TableConfig, group: string): boolean {
  const id = group.split('.')[3] ?? '';
  return group === mergeGroup({ ...config, postgres: { ...config.postgres, id } }, table);
}

/** What a table's loads are about, from the configuration. */
export function loadsOptions(config: Config, table: TableConfig): Omit<LoadsOptions, 'pool'> {
  return {
    name: table.name,
    target: table.postgres.table,
    columns: table.columns.map(({ name }) => name),
    topic: table.backfillTopic,
    captured: table.direction === 'both',
    consumers: { group: historyGroup(config, table), topic: table.topic },
  };
}

/** The topics that a table's loads have to do with, from the configuration. */
export function loadTopicsOptions(config: Config, table: TableConfig): Omit<LoadTopicsOptions, 'kafka'> {
  return {
    topic: table.backfillTopic,
    changesTopic: table.topic,
    partitions: table.partitions,
    maxMessageBytes: config.topics.maxMessageBytes,
    positions: {
      topic: config.topics.positions,
      feed: `delta-feed/${table.name}`,
      loads: `backfill/${table.name}`,
    },
  };
}

/** Where files of loads into Delta are staged. */
export function stagingVolume({ databricks }: Config, name: string): string {
  if (databricks.stagingVolume !== undefined) return databricks.stagingVolume;
  throw new OperatorError({
    code: 'LOAD_NO_VOLUME',
    message: `Loading ${name} into Delta takes a volume for its files, and none is configured.`,
    remedy: 'Set databricks.stagingVolume.',
  });
}
