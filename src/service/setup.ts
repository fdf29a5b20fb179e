import { openDatabricks } from '../connections/databricks/client.ts';
import { createDeltaTables } from '../connections/databricks/delta-table.ts';
import { topicsAdmin } from '../connections/kafka/admin.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createHistoryTables } from '../connections/postgres/history-table.ts';
import { migrate, pendingMigrations } from '../connections/postgres/migrate.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import type { SetupRequest } from '../setup/request.ts';
import { setup, type SetupOptions, type SetupResult } from '../setup/setup.ts';
import { mappingOf } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';
import { databricksOptions, kafkaOptions, postgresOptions, registryOptions } from './connect.ts';

/** Makes everything exist that the configured tables need, over connections of its own. */
export async function setupTables(config: Config, options: SetupOptions = {}): Promise<SetupResult> {
  const pool = openPool({ ...postgresOptions(config), applicationName: 'deltaferry setup' });
  const topics = topicsAdmin(openKafka(kafkaOptions(config)));
  const databricks = openDatabricks(databricksOptions(config));
  try {
    return await setup(
      requestOf(config),
      {
        control: { pending: () => pendingMigrations(pool), migrate: () => migrate(pool) },
        topics,
        subjects: createSchemaRegistry(registryOptions(config)),
        histories: createHistoryTables(pool),
        deltas: createDeltaTables(databricks),
      },
      options,
    );
  } finally {
    await Promise.all([pool.end(), topics.close(), databricks.close()]);
  }
}

function requestOf({ tables, topics }: Config): SetupRequest {
  return {
    tables: tables.map((table) => ({
      mapping: mappingOf(table),
      topic: table.topic,
      partitions: table.partitions,
      ...(table.postgres.history === 'scd2' ? { historyTable: table.postgres.table } : {}),
      historyColumns: {
        onDate: table.postgres.onDate,
        offDate: table.postgres.offDate,
        isActive: table.postgres.isActive,
      },
      deltaTable: table.delta.table,
    })),
    retentionMs: topics.retentionMs,
    deadLetterRetentionMs: topics.deadLetterRetentionMs,
    positionsTopic: topics.positions,
  };
}
