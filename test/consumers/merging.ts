import type { DeltaMergeOptions, MergeReport } from '../../src/consumers/delta-merge-options.ts';
import { createDeltaMerge, type DeltaMerge } from '../../src/consumers/delta-merge.ts';
import type { PartitionState } from '../../src/consumers/partition-state.ts';
import type { RecordStream, StreamHandler } from '../../src/ports/record-stream.ts';
import { fakeMergeSink, type FakeMergeSink, type FakeMergeSinkOptions } from '../support/fake-merge-sink.ts';
import {
  EMPLOYEES,
  fakeDeadLetters,
  NOW,
  schemas,
  UNSTORABLE,
  withFaults,
  type FakeDeadLetters,
  type Fault,
} from './fakes.ts';

export interface FakeStream extends RecordStream {
  /** Partitions of each call of `reread`. */
  readonly rereads: (readonly number[])[];
  /** Given once `run` was called. */
  handler: StreamHandler | null;
}

/** A stream that hands out nothing by itself, and ends with the signal. */
export function fakeStream(): FakeStream {
  const stream: FakeStream = {
    rereads: [],
    handler: null,
    run(handler, signal) {
      stream.handler = handler;
      return new Promise((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
    },
    reread(partitions) {
      stream.rereads.push(partitions);
    },
  };
  return stream;
}

export interface MergeUnderTest extends DeltaMerge {
  readonly sink: FakeMergeSink;
  readonly stream: FakeStream;
  readonly deadLetters: FakeDeadLetters;
  readonly states: PartitionState[];
  readonly reports: MergeReport[];
  readonly lags: Map<number, number>;
  /** Merges that were tried. */
  readonly tries: { count: number };
  /** Milliseconds of its own clock, moved by `settle` alone. */
  readonly time: { ms: number };
  /** Merges until there is nothing more to do, as if time passed. */
  settle(): Promise<void>;
}

export function mergeUnderTest(
  more: Partial<DeltaMergeOptions> = {},
  faults: Fault[] = [],
  sinkOptions: FakeMergeSinkOptions = {},
): MergeUnderTest {
  const sink = fakeMergeSink({ unstorable: UNSTORABLE, ...sinkOptions });
  const stream = fakeStream();
  const deadLetters = fakeDeadLetters();
  const states: PartitionState[] = [];
  const reports: MergeReport[] = [];
  const lags = new Map<number, number>();
  const tries = { count: 0 };
  const time = { ms: 0 };
  const merge = createDeltaMerge({
    topic: 'employees_changes',
    table: EMPLOYEES,
    origin: 'postgres',
    stream,
    sink: withFaults(sink, ['merge'], () => {
      tries.count += 1;
      return faults.shift() ?? 'none';
    }),
    deadLetters,
    schemas,
    now: () => NOW,
    clock: () => time.ms,
    random: () => 0.5,
    onState: (_, state) => states.push(state),
    onMerged: (report) => reports.push(report),
    onLag: (partition, records) => lags.set(partition, records),
    ...more,
  });
  const forever = new AbortController().signal;
  return {
    ...merge,
    sink,
    stream,
    deadLetters,
    states,
    reports,
    lags,
    tries,
    time,
    async settle() {
      for (let tries = 0; tries < 1000; tries++) {
        const ms = await merge.tend(forever);
        if (ms === Infinity) return;
        time.ms += ms;
      }
      throw new Error('it does not come to rest');
    },
  };
}
