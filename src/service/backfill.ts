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
import { isUnderWay } from '../flow/load-state.ts';
import type { Load, Loads } from '../ports/load.ts';
import { runBackfill } from '../producers/backfill.ts';
import type { BackfillMode, BackfillProgress, BackfillResult } from '../producers/backfill-deps.ts';
import { withNotes } from '../producers/load-notes.ts';
import { wireIntoDelta, type IntoDelta } from './backfill-into-delta.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';
import { databricksOptions, kafkaOptions, postgresOptions } from './connect.ts';
import { createLoadProcess } from './load-process.ts';
import { loadsOptions, loadTopicsOptions } from './loads-options.ts';
import type { Logger } from './logger.ts';
import { wireCapturedWay } from './wire-captured-way.ts';
import { wireChangeLog } from './wire-change-log.ts';
import { wireFromTopic } from './wire-from-topic.ts';
import { wireOthersWay } from './wire-others-way.ts';

export type { BackfillMode, BackfillProgress, BackfillResult } from '../producers/backfill-deps.ts';

export interface BackfillOptions {
  readonly config: Config;
  readonly table: TableConfig;
  readonly mode: BackfillMode;
  /** Where the rows come from; default that of the load that is gone on with or given up, else Delta. */
  readonly from?: Load['source'] | undefined;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: BackfillProgress) => void;
  /** A failure that is tried again, or a slower way that is taken. */
  readonly onTrouble: (error: unknown) => void;
  /** Most rows of a piece, the unit of resuming; default 50,000. */
  readonly rowsPerPiece?: number | undefined;
  /** Most rows that are on the topic and not loaded yet; default 1,000,000. */
  readonly mostAhead?: number | undefined;
}

/** The hand-over is one statement over the whole table. */
const STATEMENT_MS = 24 * 60 * 60_000;

/** Loads a table's history in Postgres from its Delta table, or the Delta table from the one in Postgres. */
export async function backfillTable(options: BackfillOptions): Promise<BackfillResult> {
  const { config, table, logger, onTrouble } = options;
  const mapping = mappingOf(table);
  const kafka = openKafka(kafkaOptions(config, logger));
  const databricks = openDatabricks(databricksOptions(config));
  const connection = { ...postgresOptions(config), applicationName: `deltaferry backfill/${table.name}` };
  const pool = openPool({ ...connection, statementTimeoutMs: STATEMENT_MS, maxConnections: 3 });
  const topic = table.backfillTopic;
  const about = loadsOptions(config, table);
  let intoDelta: IntoDelta | null = null;
  try {
    const loads = createLoads({ pool, ...about });
    const source = await sourceOf(options, loads);
    if (source === 'postgres') intoDelta = wireIntoDelta({ ...options, pool, databricks, connection });
    else if (options.mode !== 'give-up') checkTarget(table);
    const topics = createLoadTopics({ kafka, ...loadTopicsOptions(config, table) });
    return await runBackfill(
      withNotes({
        name: table.name,
        mapping,
        origin: intoDelta === null ? config.databricks.id : config.postgres.id,
        loads,
        postgresId: config.postgres.id,
        topics,
        fromTopic: source === 'topic' ? wireFromTopic({ config, table, kafka, topics }) : undefined,
        captured: wireCapturedWay({ config, table, kafka, pool }),
        others: wireOthersWay({ config, table, kafka, topics }),
        log: wireChangeLog({ config, table, logger }, 'backfill', topic),
        source: createSnapshotSource({
          client: databricks,
          table: table.delta.table,
          mapping,
          volume: config.databricks.stagingVolume,
          rowsPerPiece: options.rowsPerPiece,
          onRefused: onTrouble,
        }),
        loader: createLoadProcess({
          config,
          table: table.name,
          rowsPerPiece: options.rowsPerPiece,
          onRetry: onTrouble,
        }),
        handover: createLoadHandover({
          pool,
          mapping,
          columns: table.postgres,
          origin: config.databricks.id,
          consumers: about.consumers,
        }),
        ...intoDelta,
        leadership: createLeadership(connection),
        newId,
        mostAhead: options.mostAhead,
        onProgress: options.onProgress,
        onRetry: onTrouble,
      }),
      options.mode,
      options.signal,
    );
  } finally {
    await intoDelta?.close();
    await Promise.all([pool.end(), databricks.close()]);
  }
}

async function sourceOf({ from, mode, table }: BackfillOptions, loads: Loads): Promise<Load['source']> {
  if (mode === 'new') return from ?? 'delta';
  const newest = await loads.newest();
  const unfinished = newest !== null && isUnderWay(newest.phase) ? newest.source : null;
  if (unfinished === null || mode === 'restart') return from ?? unfinished ?? 'delta';
  if (from === undefined || from === unfinished) return unfinished;
  throw new UsageError({
    code: 'LOAD_OTHER_SOURCE',
    message: `The load of ${table.name} that is under way (${newest?.id}) comes from ${unfinished}, not from ${from}.`,
    remedy: `Leave --from out, or begin another load with --restart --from ${from}.`,
  });
}

function checkTarget({ name, direction, postgres: { history } }: TableConfig): void {
  if (direction === 'postgres-to-delta')
    throw new UsageError({
      code: 'LOAD_TARGET_IS_SOURCE',
      message: `Table ${name} goes from Postgres to Delta only: a load out of Delta would undo what was changed in Postgres.`,
      remedy: 'Load it with --from postgres, or set its direction to both.',
    });
  if (history === 'scd2') return;
  throw new UsageError({
    code: 'LOAD_TARGET_PLAIN',
    message: `Table ${name} has no history in Postgres (postgres.history is ${history}): nothing is loaded into it.`,
    remedy: 'Load a table with postgres.history: scd2, or load it into Delta with --from postgres.',
  });
}

/** When it began, for people, and something to tell apart what began in the same second. */
function newId(): string {
  const second = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').toLowerCase();
  return `${second}_${randomBytes(3).toString('hex')}`;
}
