import type { Databricks } from '../connections/databricks/client.ts';
import { createLoadMerge } from '../connections/databricks/load-merge.ts';
import { loadFolder, removeLoadFiles } from '../connections/databricks/load-staging.ts';
import { createLoadTarget } from '../connections/databricks/load-target.ts';
import { createLoadFiles } from '../connections/postgres/load-files.ts';
import { createLoads } from '../connections/postgres/loads.ts';
import { createPostgresLog } from '../connections/postgres/log-source.ts';
import { createMergeLedger } from '../connections/postgres/merge-marks.ts';
import type { openPool, PostgresOptions } from '../connections/postgres/pool.ts';
import { createTablePieces } from '../connections/postgres/table-pieces.ts';
import { UsageError } from '../errors.ts';
import type { Loads, LoadHandover, SnapshotSource } from '../ports/load.ts';
import { createLoadIntoDelta } from '../producers/load-into-delta.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';
import { loadsOptions, mergeGroup, mergeSink, stagingVolume } from './loads-options.ts';

/** Counting and dividing are statements over the whole table. */
const STATEMENT_MS = 24 * 60 * 60_000;

/** What a load out of Postgres and into Delta has in place of one the other way. */
export interface IntoDelta {
  readonly loads: Loads;
  readonly source: SnapshotSource;
  readonly handover: LoadHandover;
  /** Whether what others changed in Delta has to be in Postgres before it is read. */
  mustCatchUp(version: number): Promise<boolean>;
  close(): Promise<void>;
}

export function wireIntoDelta({
  config,
  table,
  pool,
  databricks,
  connection,
  rowsPerPiece,
  onTrouble,
  signal,
}: {
  readonly config: Config;
  readonly table: TableConfig;
  readonly pool: ReturnType<typeof openPool>;
  readonly databricks: Databricks;
  readonly connection: PostgresOptions;
  readonly rowsPerPiece?: number | undefined;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}): IntoDelta {
  if (table.direction === 'delta-to-postgres')
    throw new UsageError({
      code: 'LOAD_SOURCE_NOT_CAPTURED',
      message: `Table ${table.name} goes from Delta to Postgres only: its changes in Postgres are not captured, and would be lost while it is loaded.`,
      remedy: 'Load it with --from delta, or set its direction to both.',
    });
  const volume = stagingVolume(config, table.name);
  const mapping = mappingOf(table);
  const { postgres } = table;
  const target = createLoadTarget(databricks, table.delta.table);
  const pieces = createTablePieces({
    connection: { ...connection, statementTimeoutMs: STATEMENT_MS },
    table: postgres.table,
    mapping,
    history: postgres.history === 'plain' ? null : postgres,
    rowsPerPiece,
  });
  const sink = mergeSink(config, table);
  const mergers = { group: mergeGroup(config, table), topic: table.topic };
  const ledger = createMergeLedger({ pool, direct: connection, sink, ...mergers });
  const log = createPostgresLog({
    ...connection,
    table: postgres.table,
    mapping,
    origin: config.postgres.id,
  });

  return {
    loads: createLoads({
      pool,
      ...loadsOptions(config, table),
      target: table.delta.table,
      captured: false,
      intoDelta: { mergers, holdsRows: (version) => target.holdsRows(version) },
    }),
    source: {
      async pin() {
        // Throws where changes are not captured: those made meanwhile would be lost.
        await log.snapshot(null);
        const { tableId, version } = await target.pin();
        return { tableId, version, ...(await pieces.count()) };
      },
      pieces: () => pieces.pieces(),
      async *read({ pieces: wanted, at }, _, stop) {
        let place = at;
        for (const piece of wanted)
          do {
            const part = await pieces.read(piece, place, stop);
            yield part;
            place = part.at;
          } while (place !== null);
      },
      tidy: (load) => removeLoadFiles(databricks, loadFolder(volume, load)),
    },
    handover: createLoadIntoDelta({
      files: (load) => createLoadFiles(pool, load),
      delta: (load) =>
        createLoadMerge({
          client: databricks,
          ledger,
          sink,
          table: table.delta.table,
          mapping,
          folder: loadFolder(volume, load.id),
          othersCount: table.direction === 'both',
          onConflict: onTrouble,
        }),
      signal,
    }),
    mustCatchUp: async (version) => table.direction === 'both' && (await target.writtenByOthers(version)),
    async close() {
      await Promise.all([ledger.close(), log.close(), pieces.close()]);
    },
  };
}
