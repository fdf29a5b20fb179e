import { groupOffsets } from '../connections/kafka/group-offsets.ts';
import { latestPosition } from '../connections/kafka/latest-position.ts';
import { createLoadRecords, type LoadRecordsOptions } from '../connections/kafka/load-records.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { earlierChange } from '../consumers/earlier-changes.ts';
import { larger } from '../flow/next-offset.ts';
import type { LoadTopics, OthersWay } from '../ports/load.ts';
import { subjectOf } from '../setup/request.ts';
import { registryOptions } from './connect.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import type { Config } from './config/schema.ts';
import { isMergeGroup } from './loads-options.ts';

export interface OthersOptions {
  readonly config: Config;
  readonly table: TableConfig;
  readonly kafka: LoadRecordsOptions['kafka'];
  readonly topics: Pick<LoadTopics, 'changesLow' | 'changesEnds'>;
}

/** What people change in other Postgreses; undefined where the table is captured in this one, as it is in one at most. */
export function wireOthersWay(options: OthersOptions): OthersWay | undefined {
  const { config, table, kafka } = options;
  if (table.direction === 'both') return undefined;
  return {
    async merged() {
      if (!(await isCaptured(options))) return null;
      const isWanted = (group: string): boolean => isMergeGroup(config, table, group);
      return await groupOffsets(kafka, { topic: table.topic, isWanted });
    },
    earlier: (of, signal) => earlierOfOthers(options, { ...of, origin: config.databricks.id }, signal),
  };
}

/** Asks nothing of a topic that may be long where nobody captures the table: no change of others is on it. */
export async function earlierOfOthers(
  options: OthersOptions,
  of: Parameters<typeof earlierChange>[1],
  signal: AbortSignal,
): Promise<string | null> {
  const { config, table, kafka, topics } = options;
  if (!(await isCaptured(options))) return null;
  const lows = await topics.changesLow();
  const liveOffsets = of.liveOffsets.map((offset, partition) => larger(offset, lows[partition] ?? offset));
  const registry = createSchemaRegistry(registryOptions(config));
  try {
    return await earlierChange(
      {
        topic: table.topic,
        mapping: mappingOf(table),
        target: config.postgres.id,
        records: createLoadRecords({ kafka, topic: table.topic }),
        schemas: { schemaById: (id) => registry.schemaById(id, subjectOf(table.topic)) },
        ends: () => topics.changesEnds(),
      },
      { ...of, liveOffsets },
      signal,
    );
  } finally {
    registry.close();
  }
}

/** Whether anybody has ever published changes of the table in a Postgres. */
async function isCaptured({ config, table, kafka }: OthersOptions): Promise<boolean> {
  const owner = `postgres-log/${table.name}`;
  return (await latestPosition(kafka, { topic: config.topics.positions, owner })) !== null;
}
