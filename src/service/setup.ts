import { openDatabricks } from '../connections/databricks/client.ts';
import { createDeltaTables } from '../connections/databricks/delta-table.ts';
import { topicsAdmin } from '../connections/kafka/admin.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { latestPosition } from '../connections/kafka/latest-position.ts';
import { createCapturedTables } from '../connections/postgres/captured-table.ts';
import type { HistoryColumnNames } from '../connections/postgres/history-ddl.ts';
import { createHistoryTables } from '../connections/postgres/history-table.ts';
import { migrate, pendingMigrations } from '../connections/postgres/migrate.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { UsageError } from '../errors.ts';
import { parseLogPosition } from '../flow/log-position.ts';
import type { SetupRequest, SetupTable } from '../setup/request.ts';
import { nameProblem } from '../setup/plan-capture.ts';
import { setup, type SetupOptions, type SetupResult } from '../setup/setup.ts';
import { uninstall, type UninstallOptions, type UninstallResult } from '../setup/uninstall.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';
import { databricksOptions, kafkaOptions, postgresOptions, registryOptions } from './connect.ts';

export interface SetupTablesOptions extends SetupOptions {
  /** Neither looks at the Delta tables nor connects to Databricks: for a target that is loaded from the topic alone. */
  readonly withoutDelta?: boolean;
}

/**
 * Makes everything exist that the configured tables need, over connections of its own. Throws a UsageError
 * where Delta is to be left out although a table is merged into it.
 */
export async function setupTables(config: Config, options: SetupTablesOptions = {}): Promise<SetupResult> {
  if (options.withoutDelta === true) checkWithoutDelta(config);
  const pool = openPool({ ...postgresOptions(config), applicationName: 'deltaferry setup' });
  const topics = topicsAdmin(openKafka(kafkaOptions(config)));
  const databricks = openDatabricks(databricksOptions(config));
  try {
    return await setup(
      requestOf(config, options.withoutDelta !== true),
      {
        control: { pending: () => pendingMigrations(pool), migrate: () => migrate(pool) },
        topics,
        subjects: createSchemaRegistry(registryOptions(config)),
        histories: createHistoryTables(pool),
        deltas: createDeltaTables(databricks),
        captures: createCapturedTables(pool),
      },
      options,
    );
  } finally {
    await Promise.all([pool.end(), topics.close(), databricks.close()]);
  }
}

/** Removes what captures the configured tables, over connections of its own. The tables stay as they are. */
export async function uninstallTables(
  config: Config,
  options: UninstallOptions = {},
): Promise<UninstallResult> {
  const pool = openPool({ ...postgresOptions(config), applicationName: 'deltaferry setup' });
  const kafka = openKafka(kafkaOptions(config));
  const captures = createCapturedTables(pool);
  try {
    const ports = {
      logged: (table: string, published: string | null) => captures.logged(table, published),
      uninstall: (table: string, published: string | null) => captures.uninstall(table, published),
      async published(table: string) {
        const stored = await latestPosition(kafka, {
          topic: config.topics.positions,
          owner: `postgres-log/${table}`,
        });
        return stored === null ? null : parseLogPosition(stored, table).acknowledged;
      },
    };
    return await uninstall(
      config.tables
        // Also where a table was captured once and is not any more, but not where it never can have been.
        .filter(({ name }) => nameProblem(name) === null)
        .map(({ name, postgres }) => ({ name, table: postgres.table })),
      ports,
      options,
    );
  } finally {
    await pool.end();
  }
}

function isCaptured({ direction }: TableConfig): boolean {
  return direction !== 'delta-to-postgres';
}

function capturedOf(table: TableConfig): NonNullable<SetupTable['captured']> {
  const history = table.postgres.history === 'plain' ? null : historyColumnsOf(table);
  return { table: table.postgres.table, history };
}

function historyColumnsOf({ postgres }: TableConfig): HistoryColumnNames {
  return { onDate: postgres.onDate, offDate: postgres.offDate, isActive: postgres.isActive };
}

function checkWithoutDelta({ tables }: Config): void {
  const merged = tables.find(isCaptured);
  if (merged === undefined) return;
  throw new UsageError({
    code: 'SETUP_WITHOUT_DELTA',
    message: `Table ${merged.name} has the direction ${merged.direction}: setup has to see to its Delta table.`,
    remedy: 'Leave --without-delta out, or set direction: delta-to-postgres.',
  });
}

function requestOf({ tables, topics }: Config, withDelta: boolean): SetupRequest {
  return {
    tables: tables.map((table) => ({
      mapping: mappingOf(table),
      topic: table.topic,
      partitions: table.partitions,
      historyColumns: historyColumnsOf(table),
      ...(table.direction === 'postgres-to-delta' ? {} : { historyTable: table.postgres.table }),
      ...(withDelta ? { deltaTable: table.delta.table } : {}),
      deltaIsRead: table.direction !== 'postgres-to-delta',
      ...(isCaptured(table) ? { captured: capturedOf(table) } : {}),
      loadTopic: table.backfillTopic,
    })),
    retentionMs: topics.retentionMs,
    deadLetterRetentionMs: topics.deadLetterRetentionMs,
    positionsTopic: topics.positions,
    maxMessageBytes: topics.maxMessageBytes,
  };
}
