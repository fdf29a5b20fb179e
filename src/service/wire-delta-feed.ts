import { isDeepStrictEqual } from 'node:util';
import { changeSchema, createChangeEncoder, type ChangeEncoder } from '../change/avro.ts';
import type { TableMapping } from '../change/table.ts';
import { openDatabricks } from '../connections/databricks/client.ts';
import { createDeltaSource } from '../connections/databricks/delta-source.ts';
import { createChangeLog } from '../connections/kafka/change-log.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createLeadership } from '../connections/postgres/leadership.ts';
import { createSchemaRegistry, type SchemaRegistry } from '../connections/registry/schemas.ts';
import { OperatorError } from '../errors.ts';
import type { ChangeLog } from '../ports/change-log.ts';
import { runDeltaFeed } from '../producers/delta-feed.ts';
import { deadLetterTopic, subjectOf } from '../setup/request.ts';
import { databricksOptions, kafkaOptions, postgresOptions, registryOptions } from './connect.ts';
import { mappingOf } from './config/table-schema.ts';
import { partStates } from './part-states.ts';
import { tracedChangeLog } from './trace.ts';
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

  return {
    run: (signal) =>
      runDeltaFeed(
        {
          mapping,
          origin: config.databricks.id,
          source: createDeltaSource({ client: databricks, table: table.delta.table, mapping }),
          log: tracedChangeLog(changeLog({ config, table, logger: log, mapping }), log),
          leadership: createLeadership({ ...postgresOptions(config), applicationName: `deltaferry ${name}` }),
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
            hooks.onPublished?.({ table: table.name, changes, lastVersion });
          },
        },
        signal,
      ),
    close: () => databricks.close(),
  };
}

interface LogContext extends Pick<WireContext, 'config' | 'table' | 'logger'> {
  readonly mapping: TableMapping;
}

/** The log of changes, which finds its schema in the registry each time it is opened: a running service registers none. */
function changeLog({ config, table, logger, mapping }: LogContext): ChangeLog {
  const registry = createSchemaRegistry(registryOptions(config));
  let encoder: ChangeEncoder | null = null;
  const log = createChangeLog({
    kafka: openKafka(kafkaOptions(config, logger)),
    producerName: PRODUCER,
    table: table.name,
    topic: table.topic,
    partitions: table.partitions,
    deadLetterTopic: deadLetterTopic(table.topic),
    positionsTopic: config.topics.positions,
    encode: (change) => encoder!.encode(change, Date.now() * 1000),
  });
  return {
    async open() {
      encoder = createChangeEncoder(mapping, await ownSchemaId(registry, subjectOf(table.topic), mapping));
      return log.open();
    },
    publish: (batch) => log.publish(batch),
    close: () => log.close(),
  };
}

async function ownSchemaId(
  registry: SchemaRegistry,
  subject: string,
  mapping: TableMapping,
): Promise<number> {
  const latest = await registry.latest(subject);
  if (latest !== null && isDeepStrictEqual(latest.schema, changeSchema(mapping))) return latest.id;
  throw new OperatorError({
    code: 'SCHEMA_NOT_REGISTERED',
    message:
      latest === null
        ? `The registry has no subject ${subject}.`
        : `The newest schema of subject ${subject} (version ${latest.version}) is not the one of table ${mapping.name}'s columns.`,
    remedy: 'Run `deltaferry setup`, which registers it or says why it does not fit.',
  });
}
