import { changeSchema, createChangeDecoder, createChangeEncoder } from '../../src/change/avro.ts';
import type { Change } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { createChangeLog, type ChangeLogOptions } from '../../src/connections/kafka/change-log.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import { ownTopics, type OwnTopics } from '../connections/kafka/own-topics.ts';

/** Topics of one test file, for any number of captured tables. */
export interface LogTopics {
  readonly own: OwnTopics;
  readonly positionsTopic: string;
  of(mapping: TableMapping): Promise<TableTopics>;
  drop(): Promise<void>;
}

export interface TableTopics {
  readonly topic: string;
  readonly deadLetterTopic: string;
  /** One process's end of the changes topic, real down to the wire. */
  log(options?: Partial<ChangeLogOptions>): ChangeLog;
  /** Every committed change, by partition, in order. */
  changes(): Promise<ReadonlyMap<number, readonly Change[]>>;
}

export const PARTITIONS = 8;

export async function openLogTopics(file: string): Promise<LogTopics> {
  const own = ownTopics(file);
  const positionsTopic = await own.topic('positions', 1, { 'cleanup.policy': 'compact' });
  const logs: ChangeLog[] = [];

  return {
    own,
    positionsTopic,
    async of(mapping) {
      const topic = await own.topic(`${mapping.name}-changes`, PARTITIONS);
      const deadLetterTopic = await own.topic(`${mapping.name}-dead`, 1);
      const decoder = createChangeDecoder(mapping, changeSchema(mapping));
      return {
        topic,
        deadLetterTopic,
        log(options = {}) {
          const encoder = createChangeEncoder(mapping, 1);
          const log = createChangeLog({
            kafka: own.kafka,
            producerName: `${own.prefix}-postgres-log`,
            table: mapping.name,
            topic,
            partitions: PARTITIONS,
            deadLetterTopic,
            positionsTopic,
            encode: (change) => encoder.encode(change, Date.now() * 1000),
            ...options,
          });
          logs.push(log);
          return log;
        },
        async changes() {
          const found = await own.read(topic);
          return new Map(
            [...found].map(([partition, records]) => [
              partition,
              records.map(({ key, value }) => decoder.decode(value!, Buffer.from(key!).toString())),
            ]),
          );
        },
      };
    },
    async drop() {
      await Promise.allSettled(logs.map((log) => log.close()));
      await own.drop();
    },
  };
}
