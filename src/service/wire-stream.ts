import type { openKafka } from '../connections/kafka/client.ts';
import { createRecordStream } from '../connections/kafka/record-stream.ts';
import type { PartitionState } from '../consumers/partition-state.ts';
import { reactionTo } from '../error-policy.ts';
import type { DeadLetter } from '../ports/dead-letters.ts';
import type { RecordStream } from '../ports/record-stream.ts';
import type { Logger } from './logger.ts';
import { partStates } from './part-states.ts';
import type { WireContext } from './wire.ts';

/** What a sink of one table tells of itself, in health, metrics and log. */
export interface SinkStates {
  /** The member itself is not in the group yet. */
  readonly joining: () => void;
  readonly onTrouble: (error: unknown) => void;
  readonly onState: (partition: number, state: PartitionState) => void;
  readonly onLag: (partition: number, records: number) => void;
  readonly onDeadLetter: (letter: DeadLetter) => void;
}

export function wireSinkStates(
  { table, metrics, health, logger }: WireContext,
  sink: 'postgres-history' | 'delta-merge',
): SinkStates {
  const labels = { table: table.name, sink };
  const log = logger.child(labels);
  const states = partStates({ health, metrics, logger: log });
  const membership = `${sink}/${table.name}`;
  const name = (partition: number) => `${membership}/${partition}`;
  return {
    joining: () => states.report(membership, { state: 'joining' }),
    onTrouble: (error) =>
      states.report(
        membership,
        error === null
          ? { state: 'reading' }
          : { state: reactionTo(error) === 'stop' ? 'stopped' : 'retrying', error },
      ),
    onState(partition, state) {
      if (state.kind !== 'released')
        return states.report(name(partition), {
          state: state.kind,
          ...('error' in state ? { error: state.error } : {}),
        });
      states.forget(name(partition));
      metrics.lag.remove({ ...labels, partition: String(partition) });
    },
    onLag: (partition, records) => metrics.lag.set({ ...labels, partition: String(partition) }, records),
    onDeadLetter({ errorCode, errorMessage, partition, offset }) {
      metrics.deadLetters.inc({ ...labels, code: errorCode });
      log.warn(
        { code: errorCode, error: errorMessage, partition, offset: String(offset) },
        'record dead-lettered',
      );
    },
  };
}

/** One member of a sink's consumer group. */
export function wireStream(
  { config, table }: WireContext,
  options: {
    readonly kafka: ReturnType<typeof openKafka>;
    readonly group: string;
    readonly states: SinkStates;
    readonly logger: Logger;
    readonly partitionsConcurrently: number;
  },
): RecordStream {
  return createRecordStream({
    kafka: options.kafka,
    groupId: options.group,
    topic: table.topic,
    partitionsConcurrently: options.partitionsConcurrently,
    maxBytesPerPartition: config.batching.maxBytesPerPartition,
    sessionTimeoutMs: config.delivery.sessionTimeoutMs,
    askAgainMs: config.delivery.stoppedRetryMs,
    logger: options.logger,
    onTrouble: options.states.onTrouble,
  });
}
