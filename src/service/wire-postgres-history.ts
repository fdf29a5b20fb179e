import { createDeadLetters } from '../connections/kafka/dead-letters.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { topicRetention } from '../connections/kafka/topic-retention.ts';
import { createHistorySink } from '../connections/postgres/history-sink.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { createRememberedDeletes } from '../connections/postgres/remembered-deletes.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { tendHistory } from '../consumers/history-upkeep.ts';
import { createPostgresHistory } from '../consumers/postgres-history.ts';
import { deadLetterTopic, subjectOf } from '../setup/request.ts';
import { kafkaOptions, postgresOptions, registryOptions } from './connect.ts';
import { mappingOf } from './config/table-schema.ts';
import { historyGroup } from './loads-options.ts';
import { tracedHistorySink } from './trace.ts';
import { wireSinkStates, wireStream } from './wire-stream.ts';
import type { Part, WireContext } from './wire.ts';

const SINK = 'postgres-history';

/** The changes topic → the SCD2 history in Postgres, for one table; one member of the sink's consumer group. */
export function wirePostgresHistory(context: WireContext): Part {
  const { config, table, metrics, hooks } = context;
  const labels = { table: table.name, sink: SINK };
  const log = context.logger.child(labels);
  const mapping = mappingOf(table);
  const { topic } = table;
  const subject = subjectOf(topic);
  const group = historyGroup(config, table);
  const kafka = openKafka(kafkaOptions(config, log));
  const registry = createSchemaRegistry(registryOptions(config));
  const deadLetters = createDeadLetters({ kafka, topic: deadLetterTopic(topic) });
  const pool = openPool({
    ...postgresOptions(config),
    applicationName: `deltaferry ${SINK}/${table.name}`,
    // One for claims and one for the upkeep.
    maxConnections: config.batching.partitionsConcurrently + 2,
  });
  const states = wireSinkStates(context, SINK);

  const handler = createPostgresHistory({
    topic,
    table: mapping,
    origin: config.postgres.id,
    sink: tracedHistorySink(
      createHistorySink({
        pool,
        group,
        topic,
        table: mapping,
        historyTable: table.postgres.table,
        columns: table.postgres,
        // Where a change was first made: the capture on this table then passes the sink's own writes over.
        origin: config.databricks.id,
        lockTimeoutMs: config.delivery.lockTimeoutMs,
      }),
      log,
    ),
    deadLetters,
    schemas: { schemaById: (id) => registry.schemaById(id, subject) },
    maxBatchChanges: config.batching.maxBatchChanges,
    skewMs: config.delivery.maxClockSkewMs,
    stoppedRetryMs: config.delivery.stoppedRetryMs,
    onState: states.onState,
    onLag: states.onLag,
    onApplied: ({ changes, lateKeys, latenciesMs, tookMs }) => {
      metrics.applied.inc(labels, changes.length);
      metrics.lateKeys.inc(labels, lateKeys);
      metrics.applySeconds.observe(labels, tookMs / 1000);
      for (const ms of latenciesMs) metrics.latency.observe(labels, ms / 1000);
      hooks.onApplied?.({ table: table.name, sink: SINK, latenciesMs });
    },
    onDeadLetter: states.onDeadLetter,
  });

  const upkeep = {
    deletes: createRememberedDeletes({ pool, historyTable: table.postgres.table }),
    retentionMs: () => topicRetention(kafka, topic),
    onForgot: (count: number) => log.debug({ count }, 'deletes forgotten'),
    onFailed: (error: unknown) =>
      log.warn({ err: error }, 'forgetting deletes that have expired failed; it is tried again'),
  };

  const { partitionsConcurrently } = config.batching;
  const stream = wireStream(context, { kafka, group, states, logger: log, partitionsConcurrently });

  return {
    run: async (signal) => {
      states.joining();
      await Promise.all([stream.run(handler, signal), tendHistory(upkeep, signal)]);
    },
    close: async () => {
      await deadLetters.close();
      await pool.end();
    },
  };
}
