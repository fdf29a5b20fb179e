import { createLeadership } from '../connections/postgres/leadership.ts';
import { createLogStart, createNewestLoad } from '../connections/postgres/load-start.ts';
import { createPostgresLog } from '../connections/postgres/log-source.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { runPostgresLog } from '../producers/postgres-log.ts';
import { mappingOf } from './config/table-schema.ts';
import { postgresOptions } from './connect.ts';
import { partStates } from './part-states.ts';
import { wireChangeLog } from './wire-change-log.ts';
import type { Part, WireContext } from './wire.ts';

const PRODUCER = 'postgres-log';
const MOST_OF_A_PAGE = 5_000;

/** The log that triggers write in Postgres → the changes topic, for one table. */
export function wirePostgresLog({ config, table, logger, metrics, health, hooks }: WireContext): Part {
  const labels = { table: table.name, producer: PRODUCER };
  const log = logger.child(labels);
  const name = `${PRODUCER}/${table.name}`;
  const connection = { ...postgresOptions(config), applicationName: `deltaferry ${name}` };
  const source = createPostgresLog({
    ...connection,
    table: table.postgres.table,
    mapping: mappingOf(table),
    origin: config.postgres.id,
    // A page is never split over transactions.
    pageChanges: Math.min(MOST_OF_A_PAGE, config.batching.maxChangesPerTransaction),
  });
  const pool = openPool({ ...connection, maxConnections: 1 });
  const states = partStates({ health, metrics, logger: log });

  return {
    run: (signal) =>
      runPostgresLog(
        {
          table: table.name,
          source,
          log: wireChangeLog({ config, table, logger: log }, PRODUCER),
          leadership: createLeadership(connection),
          loadedTo: createLogStart(pool, table.name),
          newestLoad: createNewestLoad(pool, table.name, 'postgres'),
          options: {
            maxBatchChanges: config.batching.maxChangesPerTransaction,
            pollMinMs: config.polling.minMs,
            pollMaxMs: config.polling.maxMs,
            stoppedRetryMs: config.delivery.stoppedRetryMs,
          },
          onState: (state) =>
            states.report(name, { state: state.name, ...('error' in state ? { error: state.error } : {}) }),
          onPolled: ({ partitions, bytes, oldestTransactionMs }) => {
            metrics.logPartitions.set({ table: table.name }, partitions);
            metrics.logBytes.set({ table: table.name }, bytes);
            metrics.oldestTransaction.set({ table: table.name }, oldestTransactionMs / 1000);
          },
          onPublished: ({ changes, rejected }) => {
            metrics.published.inc(labels, changes);
            metrics.rejected.inc(labels, rejected);
            if (rejected > 0)
              log.warn({ rejected }, 'rows that can never become a change were dead-lettered');
            hooks.onPublished?.({ table: table.name, producer: PRODUCER, changes, version: null });
          },
        },
        signal,
      ),
    close: async () => {
      await Promise.all([source.close(), pool.end()]);
    },
  };
}
