import { createLoadRecords, type LoadRecordsOptions } from '../connections/kafka/load-records.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { earlierChange } from '../consumers/earlier-changes.ts';
import { newestOnTopic } from '../flow/load-manifest.ts';
import type { LoadTopics } from '../ports/load.ts';
import { createLoadFromTopic, type LoadFromTopic } from '../producers/load-from-topic.ts';
import { subjectOf } from '../setup/request.ts';
import { registryOptions } from './connect.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';

/** The newest load on a table's topic, for a database that did not make it. Databricks is not asked. */
export function wireFromTopic({
  config,
  table,
  kafka,
  topics,
}: {
  readonly config: Config;
  readonly table: TableConfig;
  readonly kafka: LoadRecordsOptions['kafka'];
  readonly topics: LoadTopics;
}): LoadFromTopic {
  return createLoadFromTopic({
    name: table.name,
    postgresId: config.postgres.id,
    topic: table.backfillTopic,
    changesTopic: table.topic,
    topics,
    newest: async () => newestOnTopic(await topics.newestLoad(), table.name),
    async earlier(of, signal) {
      const registry = createSchemaRegistry(registryOptions(config));
      try {
        return await earlierChange(
          {
            topic: table.topic,
            mapping: mappingOf(table),
            records: createLoadRecords({ kafka, topic: table.topic }),
            schemas: { schemaById: (id) => registry.schemaById(id, subjectOf(table.topic)) },
            ends: () => topics.changesEnds(),
          },
          of,
          signal,
        );
      } finally {
        registry.close();
      }
    },
  });
}
