import { randomBytes } from 'node:crypto';
import { openDatabricks } from '../connections/databricks/client.ts';
import { createSnapshotSource } from '../connections/databricks/snapshot.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createLoadTopics } from '../connections/kafka/load-topics.ts';
import { createLeadership } from '../connections/postgres/leadership.ts';
import { createLoadHandover } from '../connections/postgres/load-handover.ts';
import { createLoads } from '../connections/postgres/loads.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { UsageError } from '../errors.ts';
import { runBackfill } from '../producers/backfill.ts';
import type { BackfillMode, BackfillProgress, BackfillResult } from '../producers/backfill-deps.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';
import { databricksOptions, kafkaOptions, postgresOptions } from './connect.ts';
import { createLoadProcess } from './load-process.ts';
import { backfillTopic, loadsOptions } from './loads-options.ts';
import type { Logger } from './logger.ts';
import { wireChangeLog } from './wire-change-log.ts';

export type { BackfillMode, BackfillProgress, BackfillResult } from '../producers/backfill-deps.ts';

export interface BackfillOptions {
  readonly config: Config;
  readonly table: TableConfig;
  readonly mode: BackfillMode;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: BackfillProgress) => void;
  /** A failure that is tried again, or a slower way that is taken. */
  readonly onTrouble: (error: unknown) => void;
  /** Most rows of a piece, the unit of resuming; default 50,000. */
  readonly rowsPerPiece?: number | undefined;
}

/** The hand-over is one statement over the whole table. */
const STATEMENT_MS = 24 * 60 * 60_000;

/** Loads a table's history in Postgres from its Delta table. */
export async function backfillTable(options: BackfillOptions): Promise<BackfillResult> {
  const { config, table, logger, onTrouble } = options;
  if (table.postgres.history !== 'scd2')
    throw new UsageError({
      code: 'LOAD_TARGET_PLAIN',
      message: `Table ${table.name} has no history in Postgres (postgres.history is ${table.postgres.history}): nothing is loaded into it.`,
      remedy: 'Load a table with postgres.history: scd2.',
    });
  const mapping = mappingOf(table);
  const kafka = openKafka(kafkaOptions(config, logger));
  const databricks = openDatabricks(databricksOptions(config));
  const connection = { ...postgresOptions(config), applicationName: `deltaferry backfill/${table.name}` };
  const pool = openPool({ ...connection, statementTimeoutMs: STATEMENT_MS, maxConnections: 3 });
  const topic = backfillTopic(table);
  const about = loadsOptions(config, table);
  try {
    return await runBackfill(
      {
        name: table.name,
        mapping,
        origin: config.databricks.id,
        loads: createLoads({ pool, ...about }),
        topics: createLoadTopics({
          kafka,
          topic,
          changesTopic: table.topic,
          partitions: table.partitions,
          feed: { positionsTopic: config.topics.positions, owner: `delta-feed/${table.name}` },
        }),
        log: wireChangeLog({ config, table, logger }, 'backfill', topic),
        source: createSnapshotSource({
          client: databricks,
          table: table.delta.table,
          mapping,
          volume: config.databricks.stagingVolume,
          rowsPerPiece: options.rowsPerPiece,
          onRefused: onTrouble,
        }),
        loader: createLoadProcess({ config, table: table.name, onRetry: onTrouble }),
        handover: createLoadHandover({
          pool,
          mapping,
          columns: table.postgres,
          origin: config.databricks.id,
          consumers: about.consumers,
        }),
        leadership: createLeadership(connection),
        newId,
        onProgress: options.onProgress,
        onRetry: onTrouble,
      },
      options.mode,
      options.signal,
    );
  } finally {
    await Promise.all([pool.end(), databricks.close()]);
  }
}

/** When it began, for people, and something to tell apart what began in the same second. */
function newId(): string {
  const second = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').toLowerCase();
  return `${second}_${randomBytes(3).toString('hex')}`;
}
