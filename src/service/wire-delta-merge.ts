import { openDatabricks } from '../connections/databricks/client.ts';
import { createDeltaMergeSink } from '../connections/databricks/delta-merge-sink.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createDeadLetters } from '../connections/kafka/dead-letters.ts';
import { createMergeLedger } from '../connections/postgres/merge-marks.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { createDeltaMerge } from '../consumers/delta-merge.ts';
import { deadLetterTopic, subjectOf } from '../setup/request.ts';
import { databricksOptions, kafkaOptions, postgresOptions, registryOptions } from './connect.ts';
import { mappingOf } from './config/table-schema.ts';
import { mergeGroup, mergeSink } from './loads-options.ts';
import { tracedMergeSink } from './trace.ts';
import { wireSinkStates, wireStream } from './wire-stream.ts';
import type { Part, WireContext } from './wire.ts';

const SINK = 'delta-merge';
/** Records of so many bytes still fit into one statement, where there is no volume to stage them in. */
const MOST_INLINE_BYTES = 4 * 1024 * 1024;

/** The changes topic → batched merges into Delta, for one table; one member of the sink's consumer group. */
export function wireDeltaMerge(context: WireContext): Part {
  const { config, table, metrics, hooks } = context;
  const labels = { table: table.name, sink: SINK };
  const logger = context.logger.child(labels);
  const mapping = mappingOf(table);
  const { topic } = table;
  const subject = subjectOf(topic);
  const sinkName = mergeSink(config, table);
  const group = mergeGroup(config, table);
  const kafka = openKafka(kafkaOptions(config, logger));
  const registry = createSchemaRegistry(registryOptions(config));
  const deadLetters = createDeadLetters({ kafka, topic: deadLetterTopic(topic) });
  const connection = { ...postgresOptions(config), applicationName: `deltaferry ${SINK}/${table.name}` };
  const pool = openPool({ ...connection, maxConnections: 2 });
  const client = openDatabricks(databricksOptions(config));
  const sink = createDeltaMergeSink({
    client,
    ledger: createMergeLedger({ pool, direct: connection, sink: sinkName, group, topic }),
    table: table.delta.table,
    mapping,
    sink: sinkName,
    stagingVolume: config.databricks.stagingVolume,
  });
  const states = wireSinkStates(context, SINK);
  const { merging, delivery } = config;

  const merge = createDeltaMerge({
    topic,
    table: mapping,
    origin: config.databricks.id,
    // Every partition's records wait for the same merge.
    stream: wireStream(context, { kafka, group, states, logger, partitionsConcurrently: table.partitions }),
    sink: tracedMergeSink(sink, logger),
    deadLetters,
    schemas: { schemaById: (id) => registry.schemaById(id, subject) },
    maxChanges: merging.maxChanges,
    maxBytes:
      config.databricks.stagingVolume === undefined
        ? Math.min(merging.maxBytes, MOST_INLINE_BYTES)
        : merging.maxBytes,
    minAgeMs: merging.minAgeMs,
    maxAgeMs: merging.maxAgeMs,
    optimizeEveryMs: merging.optimizeEveryMinutes * 60_000,
    skewMs: delivery.maxClockSkewMs,
    stoppedRetryMs: delivery.stoppedRetryMs,
    onState: states.onState,
    onLag: states.onLag,
    onMerged: ({ records, latenciesMs, tookMs, merged }) => {
      metrics.applied.inc(labels, records);
      metrics.applySeconds.observe(labels, tookMs / 1000);
      for (const ms of latenciesMs) metrics.latency.observe(labels, ms / 1000);
      if (merged !== null) {
        metrics.merges.inc({ table: table.name, sent: merged.sent });
        metrics.mergeConflicts.inc({ table: table.name }, merged.conflicts);
      }
      hooks.onApplied?.({ table: table.name, sink: SINK, latenciesMs });
    },
    onDeadLetter: states.onDeadLetter,
    onOptimizeFailed: (error) => logger.warn({ err: error }, 'putting small files together failed'),
  });

  return {
    run: (signal) => {
      states.joining();
      return merge.run(signal);
    },
    close: async () => {
      await deadLetters.close();
      await sink.close();
      await client.close();
      await pool.end();
    },
  };
}
