import type { Mutant } from './mutant.ts';

const CONSUMER = 'test/consumers/delta-merge.test.ts';
const UPKEEP = 'test/consumers/delta-merge-upkeep.test.ts';

/** M7 to M11 in docs/SPEC.md: how merging goes on after a failure, in quiet moments, and ends. */
export const mergeLoopMutants: readonly Mutant[] = [
  {
    promise: 'M7',
    name: 'tries again without waiting longer each time',
    file: 'src/consumers/merge-rest.ts',
    find: `case 'retry':
          show({ kind: 'retrying', error });
          return waits.next();`,
    put: `case 'retry':
          show({ kind: 'retrying', error });
          return retries.initialMs;`,
    caughtBy: [
      CONSUMER,
      'a transient failure is retried with growing waits, never dead-lettered, and reading goes on meanwhile',
    ],
  },
  {
    promise: 'M7',
    name: 'loses what it holds when a merge fails',
    file: 'src/consumers/delta-merge.ts',
    find: 'restUntil = clock() + rest.after(error, show);',
    put: 'restUntil = clock() + rest.after(error, show);\n      hand = null;',
    caughtBy: [
      CONSUMER,
      'a transient failure is retried with growing waits, never dead-lettered, and reading goes on meanwhile',
    ],
  },
  {
    promise: 'M7',
    name: 'tries again and again what a person has to mend',
    file: 'src/consumers/merge-rest.ts',
    find: 'return stoppedRetryMs;',
    put: 'return waits.next();',
    caughtBy: [
      CONSUMER,
      'what a person must mend stops the partitions with its remedy, and is tried again slowly',
    ],
  },
  {
    promise: 'M7',
    name: 'looks well as soon as something comes in, though it cannot merge',
    file: 'src/consumers/merge-partition.ts',
    find: 'told ?? this.#reading ?? this.#merging ?? RUNNING',
    put: 'told ?? this.#reading ?? RUNNING',
    caughtBy: [
      CONSUMER,
      'what a person must mend stops the partitions with its remedy, and is tried again slowly',
    ],
  },
  {
    promise: 'M7',
    name: 'makes nothing of poison that it can blame on no record',
    file: 'src/consumers/merge-hand.ts',
    find: "if (cell?.item?.kind !== 'change' || !(error instanceof PoisonError)) throw error;",
    put: "if (cell?.item?.kind !== 'change') return;\n        if (!(error instanceof PoisonError)) throw error;",
    caughtBy: [CONSUMER, 'poison that no record can be blamed for stops, it is not dead-lettered'],
  },
  {
    promise: 'M8',
    name: 'does not read a partition anew in which it has lost its place',
    file: 'src/consumers/delta-merge.ts',
    find: 'stream.reread(partitions);',
    put: '',
    caughtBy: [CONSUMER, 'what is held of the partition is dropped and read anew, the others are merged'],
  },
  {
    promise: 'M8',
    name: 'drops all that it holds where it has lost one place',
    file: 'src/consumers/merge-hand.ts',
    find: 'still.filter(({ partition, own }) => offsets.get(partition) !== own.stored);',
    put: 'still;',
    caughtBy: [CONSUMER, 'what is held of the partition is dropped and read anew, the others are merged'],
  },
  {
    promise: 'M8',
    name: 'tries to merge what was taken away while a merge of it failed',
    file: 'src/consumers/delta-merge.ts',
    find: 'if (own !== undefined) own.gone = true;',
    put: '',
    caughtBy: [CONSUMER, 'is left out of the next try of a merge that failed'],
  },
  {
    promise: 'M8',
    name: 'asks where a partition stands while its own merge moves it',
    file: 'src/consumers/delta-merge.ts',
    find: 'if (underWay?.partitions.some((partition) => ranges.has(partition)) === true) await underWay.ended;',
    put: '',
    caughtBy: [CONSUMER, 'and comes back while a merge with it is under way is asked for after that'],
  },
  {
    promise: 'M8',
    name: 'reads all of its partitions anew where it has lost one place',
    file: 'src/connections/kafka/assignment.ts',
    find: 'for (const partition of partitions) flows.get(partition)?.reread();',
    put: 'if (partitions.length > 0) for (const flow of flows.values()) flow.reread();',
    caughtBy: [
      'test/connections/kafka/record-stream.engine.test.ts',
      'asks anew for a partition whose place the handler has lost, after the batch in hand, and for no other',
    ],
  },
  {
    promise: 'M9',
    name: 'merges what was made in Delta itself',
    file: 'src/consumers/record-reader.ts',
    find: "if (change.origin === origin) return { kind: 'own' };",
    put: '',
    caughtBy: [
      CONSUMER,
      'own changes are passed over and the offset follows, with the next changes or by its age',
    ],
  },
  {
    promise: 'M9',
    name: 'leaves the offset before its own changes until another comes',
    file: 'src/consumers/merge-intake.ts',
    find: 'buffer.pass(partition, own, next, clock(), next >= end);',
    put: 'buffer.pass(partition, 0, next, clock());',
    caughtBy: [
      CONSUMER,
      'own changes are passed over and the offset follows, with the next changes or by its age',
    ],
  },
  {
    promise: 'M10',
    name: 'puts files together as soon as nothing is held, whenever it last did',
    file: 'src/consumers/merge-upkeep.ts',
    find: 'if (wait > 0) return wait;',
    put: '',
    caughtBy: [UPKEEP, 'on their schedule, and only while nothing is held'],
  },
  {
    promise: 'M10',
    name: 'puts files together while changes are held',
    file: 'src/consumers/delta-merge.ts',
    find: 'return buffer.isEmpty ? await upkeep.tend(signal) : ms;',
    put: 'return Math.min(ms, await upkeep.tend(signal));',
    caughtBy: [UPKEEP, 'on their schedule, and only while nothing is held'],
  },
  {
    promise: 'M10',
    name: 'puts files together though nothing was written since',
    file: 'src/consumers/merge-upkeep.ts',
    find: 'underWay = ending;\n    needed = false;',
    put: 'underWay = ending;',
    caughtBy: [UPKEEP, 'on their schedule, and only while nothing is held'],
    saying: /it does not come to rest/,
  },
  {
    promise: 'M10',
    name: 'lets changes wait until all files are put together',
    file: 'src/consumers/merge-upkeep.ts',
    find: 'giveWay: () => underWay?.abort(),',
    put: 'giveWay: () => {},',
    caughtBy: [UPKEEP, 'and give way as soon as something comes'],
  },
  {
    promise: 'M11',
    name: 'breaks off the merge in hand when it is to end',
    file: 'src/consumers/delta-merge.ts',
    find: 'const ms = await tend(late.signal);',
    put: 'const ms = await tend(signal);',
    caughtBy: [
      CONSUMER,
      'merges what comes without being asked, and ends with the signal after the merge in hand',
    ],
  },
  {
    promise: 'M11',
    name: 'merges all that it holds before it ends',
    file: 'src/consumers/delta-merge.ts',
    find: 'while (!signal.aborted) {',
    put: 'while (!signal.aborted || !buffer.isEmpty) {',
    caughtBy: [
      CONSUMER,
      'merges what comes without being asked, and ends with the signal after the merge in hand',
    ],
  },
  {
    promise: 'M11',
    name: 'waits for ever for a merge that hangs',
    file: 'src/consumers/delta-merge.ts',
    find: 'lateTimer = setTimeout(() => late.abort(signal.reason), options.finishMs ?? 10_000);',
    put: '',
    caughtBy: [CONSUMER, 'does not wait for ever for a merge that hangs, and lets waiting batches go'],
    saying: /not within 2000 ms: it to end/,
  },
  {
    promise: 'M11',
    name: 'waits for an upload that hangs until the warehouse’s own limit',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'await source.prepare(parts, signal);',
    put: 'await source.prepare(parts, new AbortController().signal);',
    caughtBy: ['test/connections/databricks/delta-merge-stopping.test.ts', 'while rows are uploaded'],
    saying: /test timed out after 10000ms/,
  },
  {
    promise: 'M11',
    name: 'lets a batch wait for room that nobody will make any more',
    file: 'src/consumers/delta-merge.ts',
    find: 'leaving.abort(signal.reason);',
    put: '',
    caughtBy: [CONSUMER, 'does not wait for ever for a merge that hangs, and lets waiting batches go'],
  },
];
