import { createDeadLetters } from '../connections/kafka/dead-letters.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createRecordStream } from '../connections/kafka/record-stream.ts';
import { createHistorySink } from '../connections/postgres/history-sink.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { createPostgresHistory } from '../consumers/postgres-history.ts';
import { reactionTo } from '../error-policy.ts';
import { deadLetterTopic, subjectOf } from '../setup/request.ts';
import { kafkaOptions, postgresOptions, registryOptions } from './connect.ts';
import { mappingOf } from './config/table-schema.ts';
import { partStates } from './part-states.ts';
import { tracedHistorySink } from './trace.ts';
import type { Part, WireContext } from './wire.ts';

const SINK = 'postgres-history';

/** The changes topic → the SCD2 history in Postgres, for one table; one member of the sink's consumer group. */
export function wirePostgresHistory({ config, table, logger, metrics, health, hooks }: WireContext): Part {
  const labels = { table: table.name, sink: SINK };
  const log = logger.child(labels);
  const mapping = mappingOf(table);
  const { topic } = table;
  const subject = subjectOf(topic);
  // The id of the target is part of the group: two targets never share one.
  const group = `deltaferry.${SINK}.${config.postgres.id}.${table.name}`;
  const kafka = openKafka(kafkaOptions(config, log));
  const registry = createSchemaRegistry(registryOptions(config));
  const deadLetters = createDeadLetters({ kafka, topic: deadLetterTopic(topic) });
  const pool = openPool({
    ...postgresOptions(config),
    applicationName: `deltaferry ${SINK}/${table.name}`,
    maxConnections: config.batching.partitionsConcurrently + 1,
  });
  const states = partStates({ health, metrics, logger: log });
  const membership = `${SINK}/${table.name}`;
  const name = (partition: number) => `${membership}/${partition}`;

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
    onState: (partition, state) => {
      if (state.kind !== 'released')
        return states.report(name(partition), {
          state: state.kind,
          ...('error' in state ? { error: state.error } : {}),
        });
      states.forget(name(partition));
      metrics.lag.remove({ ...labels, partition: String(partition) });
    },
    onLag: (partition, records) => metrics.lag.set({ ...labels, partition: String(partition) }, records),
    onApplied: ({ changes, lateKeys, latenciesMs, tookMs }) => {
      metrics.applied.inc(labels, changes.length);
      metrics.lateKeys.inc(labels, lateKeys);
      metrics.applySeconds.observe(labels, tookMs / 1000);
      for (const ms of latenciesMs) metrics.latency.observe(labels, ms / 1000);
      hooks.onApplied?.({ table: table.name, sink: SINK, latenciesMs });
    },
    onDeadLetter: (letter) => {
      metrics.deadLetters.inc({ ...labels, code: letter.errorCode });
      const { errorCode, errorMessage, partition, offset } = letter;
      log.warn(
        { code: errorCode, error: errorMessage, partition, offset: String(offset) },
        'record dead-lettered',
      );
    },
  });

  const stream = createRecordStream({
    kafka,
    groupId: group,
    topic,
    partitionsConcurrently: config.batching.partitionsConcurrently,
    maxBytesPerPartition: config.batching.maxBytesPerPartition,
    sessionTimeoutMs: config.delivery.sessionTimeoutMs,
    askAgainMs: config.delivery.stoppedRetryMs,
    logger: log,
    onTrouble: (error) =>
      states.report(
        membership,
        error === null
          ? { state: 'reading' }
          : { state: reactionTo(error) === 'stop' ? 'stopped' : 'retrying', error },
      ),
  });

  return {
    run: (signal) => {
      states.report(membership, { state: 'joining' });
      return stream.run(handler, signal);
    },
    close: async () => {
      await deadLetters.close();
      await pool.end();
    },
  };
}
