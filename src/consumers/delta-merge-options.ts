import type { TableMapping } from '../change/table.ts';
import type { DeadLetter, DeadLetters } from '../ports/dead-letters.ts';
import type { MergeSink } from '../ports/merge-sink.ts';
import type { RecordStream } from '../ports/record-stream.ts';
import type { SchemaSource } from '../ports/schema-source.ts';
import type { MergedNow } from './merge-hand.ts';
import type { PartitionState } from './partition-state.ts';

/** What one merge did; `onMerged` tells. */
export interface MergeReport extends Omit<MergedNow, 'covered'> {
  /** Changes that it covers; those of a key that a later one superseded are not among `changes`. */
  readonly records: number;
  /** From the event time of each of these to now, milliseconds. */
  readonly latenciesMs: Float64Array;
}

export interface DeltaMergeOptions {
  readonly topic: string;
  readonly table: TableMapping;
  /** Id of the system that the sink writes: its own changes are passed over. */
  readonly origin: string;
  readonly stream: RecordStream;
  readonly sink: MergeSink;
  readonly deadLetters: DeadLetters;
  readonly schemas: SchemaSource;
  /** Changes that are held for the next merge, over all partitions; default 100,000. As many may be in the running one. */
  readonly maxChanges?: number;
  /** Bytes of their records; default 32 MB. */
  readonly maxBytes?: number;
  /** A merge begins when the oldest change has waited so long and no backlog is known, milliseconds; default 200. */
  readonly minAgeMs?: number;
  /** It begins at the latest when anything has waited so long, milliseconds; default 2,000. */
  readonly maxAgeMs?: number;
  /** How often the sink puts small files together when there is nothing to merge, milliseconds; default 0: never. */
  readonly optimizeEveryMs?: number;
  /** How long a merge in hand may take to end once the signal has aborted, milliseconds; default 10,000. */
  readonly finishMs?: number;
  /** How far ahead an event time may be, milliseconds; default 5 minutes. */
  readonly skewMs?: number;
  /** When what stopped is tried again, milliseconds; default 30,000. */
  readonly stoppedRetryMs?: number;
  /** Longest wait between tries after a transient failure, milliseconds; default 10,000. */
  readonly maxRetryMs?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
  /** Uniform in [0, 1), for jitter. */
  readonly random?: () => number;
  readonly onState?: (partition: number, state: PartitionState) => void;
  readonly onMerged?: (report: MergeReport) => void;
  /** Offsets that are not merged yet, until the partition's end. */
  readonly onLag?: (partition: number, records: number) => void;
  readonly onDeadLetter?: (letter: DeadLetter) => void;
  /** Putting files together failed; it is tried again at its next time. */
  readonly onOptimizeFailed?: (error: unknown) => void;
}
