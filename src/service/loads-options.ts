import type { LoadsOptions } from '../connections/postgres/loads.ts';
import type { Config } from './config/schema.ts';
import type { TableConfig } from './config/table-schema.ts';

/** The compacted topic of a table's loads. */
export function backfillTopic({ name }: TableConfig): string {
  return `${name}_backfill`;
}

/** The consumer group that applies a table's changes to its history. The id of the target is part of it: two targets never share one. */
export function historyGroup({ postgres }: Config, { name }: TableConfig): string {
  return `deltaferry.postgres-history.${postgres.id}.${name}`;
}

/** What a table's loads are about, from the configuration. */
export function loadsOptions(config: Config, table: TableConfig): Omit<LoadsOptions, 'pool'> {
  return {
    name: table.name,
    target: table.postgres.table,
    columns: table.columns.map(({ name }) => name),
    topic: backfillTopic(table),
    captured: table.direction === 'both',
    consumers: { group: historyGroup(config, table), topic: table.topic },
  };
}
