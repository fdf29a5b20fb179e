import { isDeepStrictEqual } from 'node:util';
import { changeSchema, createChangeEncoder, type ChangeEncoder } from '../change/avro.ts';
import type { TableMapping } from '../change/table.ts';
import { createChangeLog } from '../connections/kafka/change-log.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createSchemaRegistry, type SchemaRegistry } from '../connections/registry/schemas.ts';
import { OperatorError } from '../errors.ts';
import type { ChangeLog } from '../ports/change-log.ts';
import { deadLetterTopic, subjectOf } from '../setup/request.ts';
import { kafkaOptions, registryOptions } from './connect.ts';
import { mappingOf } from './config/table-schema.ts';
import { tracedChangeLog } from './trace.ts';
import type { WireContext } from './wire.ts';

/**
 * A producer's log of changes, which finds its schema in the registry each time it is opened: a running service
 * registers none. `topic`: another one than the table's changes topic, of the same records.
 */
export function wireChangeLog(
  { config, table, logger }: Pick<WireContext, 'config' | 'table' | 'logger'>,
  producerName: string,
  topic: string = table.topic,
): ChangeLog {
  const mapping = mappingOf(table);
  const registry = createSchemaRegistry(registryOptions(config));
  let encoder: ChangeEncoder | null = null;
  const log = createChangeLog({
    kafka: openKafka(kafkaOptions(config, logger)),
    producerName,
    table: table.name,
    topic,
    partitions: table.partitions,
    deadLetterTopic: deadLetterTopic(table.topic),
    positionsTopic: config.topics.positions,
    encode: (change) => encoder!.encode(change, Date.now() * 1000),
  });
  const opening: ChangeLog = {
    async open() {
      encoder = createChangeEncoder(mapping, await ownSchemaId(registry, subjectOf(table.topic), mapping));
      return log.open();
    },
    publish: (batch) => log.publish(batch),
    close: () => log.close(),
  };
  return tracedChangeLog(opening, logger);
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
