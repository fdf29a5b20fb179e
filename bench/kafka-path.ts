import { openKafka } from '../src/connections/kafka/client.ts';
import { createLoadTopics } from '../src/connections/kafka/load-topics.ts';
import { createLeadership } from '../src/connections/postgres/leadership.ts';
import { createLoadHandover } from '../src/connections/postgres/load-handover.ts';
import { createLoads } from '../src/connections/postgres/loads.ts';
import { openPool } from '../src/connections/postgres/pool.ts';
import { runBackfill } from '../src/producers/backfill.ts';
import type { BackfillProgress } from '../src/producers/backfill-deps.ts';
import { mappingOf } from '../src/service/config/table-schema.ts';
import { kafkaOptions, postgresOptions } from '../src/service/connect.ts';
import { createLoadProcess } from '../src/service/load-process.ts';
import { loadsOptions, loadTopicsOptions } from '../src/service/loads-options.ts';
import { createLogger } from '../src/service/logger.ts';
import { wireChangeLog } from '../src/service/wire-change-log.ts';
import type { Timed } from './load-command.ts';
import { rowsFromMemory } from './publish-load.ts';
import { createDeltaTable, historyTable, openSite } from './site.ts';

const STATEMENT_MS = 3_600_000;

/**
 * A whole load but for Delta: rows made in memory are published, and loaded by a process beside it at the same time,
 * then moved into an indexed history.
 */
export async function loadFromMemory(rows: number): Promise<Timed> {
  const site = await openSite('bench_kafka_path');
  const { config } = site;
  const table = config.tables[0]!;
  await createDeltaTable(site, 0);
  const mapping = mappingOf(table);
  const kafka = openKafka(kafkaOptions(config));
  const connection = postgresOptions(config);
  const pool = openPool({ ...connection, statementTimeoutMs: STATEMENT_MS, maxConnections: 3 });
  const about = loadsOptions(config, table);
  const logger = createLogger({ level: 'error', format: 'json' });
  const stages: Record<string, number> = {};
  let last: { readonly stage: string; readonly at: number } | null = null;
  const onProgress = ({ stage }: Pick<BackfillProgress, 'stage'>): void => {
    if (last?.stage === stage) return;
    const at = performance.now();
    if (last !== null) stages[last.stage] = (stages[last.stage] ?? 0) + (at - last.at) / 1000;
    last = { stage, at };
  };
  try {
    const began = performance.now();
    await runBackfill(
      {
        name: table.name,
        mapping,
        origin: config.databricks.id,
        loads: createLoads({ pool, ...about }),
        postgresId: config.postgres.id,
        topics: createLoadTopics({ kafka, ...loadTopicsOptions(config, table) }),
        captured: null,
        log: wireChangeLog({ config, table, logger }, 'backfill', table.backfillTopic),
        source: rowsFromMemory(rows),
        loader: createLoadProcess({ config, table: table.name, onRetry }),
        handover: createLoadHandover({
          pool,
          mapping,
          columns: table.postgres,
          origin: config.databricks.id,
          consumers: about.consumers,
        }),
        leadership: createLeadership(connection),
        newId: () => 'bench_from_memory',
        onProgress,
        onRetry,
      },
      'new',
      new AbortController().signal,
    );
    const seconds = (performance.now() - began) / 1000;
    const { rows: found } = await site.postgres.query<{ n: string }>(
      `SELECT count(*) AS n FROM ${historyTable(site)} WHERE is_active`,
    );
    if (Number(found[0]!.n) !== rows) throw new Error(`${found[0]!.n} rows in the history`);
    await site.postgres.query(`DROP TABLE ${historyTable(site)}`);
    return { rows, seconds, stages };
  } finally {
    await pool.end();
    await site.close();
  }
}

/** What is tried again would be in the figures. */
function onRetry(error: unknown): void {
  console.error(error);
}
