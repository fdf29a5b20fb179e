import { latestPosition } from '../connections/kafka/latest-position.ts';
import { createCapturedWay, type CapturedWayOptions } from '../connections/postgres/captured-way.ts';
import { parseLogPosition, SEES_NOTHING } from '../flow/log-position.ts';
import type { CapturedWay } from '../ports/load.ts';
import type { Config } from './config/schema.ts';
import type { TableConfig } from './config/table-schema.ts';
import { mergeGroup } from './loads-options.ts';

/** The way from a table's capture in Postgres to Delta; null where it is not captured. */
export function wireCapturedWay({
  config,
  table,
  kafka,
  pool,
}: {
  readonly config: Config;
  readonly table: TableConfig;
  readonly kafka: Parameters<typeof latestPosition>[0];
  readonly pool: CapturedWayOptions['pool'];
}): CapturedWay | null {
  if (table.direction !== 'both') return null;
  return createCapturedWay({
    pool,
    name: table.name,
    mergers: { group: mergeGroup(config, table), topic: table.topic },
    async acknowledged() {
      const owner = `postgres-log/${table.name}`;
      const position = await latestPosition(kafka, { topic: config.topics.positions, owner });
      return position === null ? SEES_NOTHING : parseLogPosition(position, table.name).acknowledged;
    },
  });
}
