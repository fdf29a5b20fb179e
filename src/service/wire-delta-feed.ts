import { openDatabricks } from '../connections/databricks/client.ts';
import { createDeltaSource } from '../connections/databricks/delta-source.ts';
import { createLeadership } from '../connections/postgres/leadership.ts';
import { createLoadPhase, createLoadStart, createNewestLoad } from '../connections/postgres/load-start.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { runDeltaFeed } from '../producers/delta-feed.ts';
import { databricksOptions, postgresOptions } from './connect.ts';
import { mappingOf } from './config/table-schema.ts';
import { partStates } from './part-states.ts';
import { wireChangeLog } from './wire-change-log.ts';
import type { Part, WireContext } from './wire.ts';

const PRODUCER = 'delta-feed';

/** Delta's change data feed → the changes topic, for one table. */
export function wireDeltaFeed({ config, table, logger, metrics, health, hooks }: WireContext): Part {
  const labels = { table: table.name, producer: PRODUCER };
  const log = logger.child(labels);
  const mapping = mappingOf(table);
  const databricks = openDatabricks(databricksOptions(config));
  const states = partStates({ health, metrics, logger: log });
  const name = `${PRODUCER}/${table.name}`;
  const applicationName = `deltaferry ${name}`;
  const pool = openPool({ ...postgresOptions(config), applicationName, maxConnections: 1 });

  return {
    run: (signal) =>
      runDeltaFeed(
        {
          mapping,
          origin: config.databricks.id,
          source: createDeltaSource({ client: databricks, table: table.delta.table, mapping }),
          log: wireChangeLog({ config, table, logger: log }, PRODUCER),
          leadership: createLeadership({ ...postgresOptions(config), applicationName }),
          startAfter: createLoadStart(pool, table.name),
          loadPhase: createLoadPhase(pool, table.name),
          newestLoad: createNewestLoad(pool, table.name, 'delta'),
          options: {
            maxBatchChanges: config.batching.maxChangesPerTransaction,
            pollMinMs: config.polling.minMs,
            pollMaxMs: config.polling.maxMs,
            historyLimit: config.polling.historyLimit,
            stoppedRetryMs: config.delivery.stoppedRetryMs,
          },
          onState: (state) =>
            states.report(name, { state: state.name, ...('error' in state ? { error: state.error } : {}) }),
          onPolled: ({ latestVersion }) => metrics.sourceLatest.set(labels, latestVersion),
          onPublished: ({ changes, rejected, lastVersion }) => {
            metrics.published.inc(labels, changes);
            metrics.rejected.inc(labels, rejected);
            metrics.sourcePosition.set(labels, lastVersion);
            if (rejected > 0)
              log.warn({ rejected, lastVersion }, 'rows that can never become a change were dead-lettered');
            hooks.onPublished?.({ table: table.name, producer: PRODUCER, changes, version: lastVersion });
          },
        },
        signal,
      ),
    close: async () => {
      await databricks.close();
      await pool.end();
    },
  };
}
