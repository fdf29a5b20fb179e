import type { Mutant } from './mutant.ts';

/** Of where sinks stand, how a service ends, and what bad connections do to it. */
export const offsetMutants: readonly Mutant[] = [
  {
    promise: 'D7',
    name: 'applies what lies behind a gap',
    file: 'src/consumers/postgres-history.ts',
    find: 'if (position < incoming.from || position > incoming.next)',
    put: 'if (position > incoming.next)',
    caughtBy: ['test/consumers/postgres-history.test.ts', 'a gap is never jumped'],
  },
  {
    promise: 'D7',
    name: 'begins where the topic begins once its offset has expired',
    file: 'src/consumers/postgres-history.ts',
    find: 'const offset = offsets.get(partition) ?? range.low;',
    put: `const stored = offsets.get(partition) ?? range.low;
      const offset = stored < range.low ? range.low : stored;`,
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'an offset that the topic does not have stops the partition, it is never reset',
    ],
  },
  {
    promise: 'D7',
    name: 'stands before the mark that ends a partition until retention drops it',
    file: 'src/consumers/history-partition.ts',
    find: 'if (nothing && batch.next < batch.end)',
    put: 'if (nothing)',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'control records at the end of a partition are passed for good: once retention drops them nothing is missing',
    ],
  },
  {
    promise: 'D7',
    name: 'takes it that every topic begins at its first record',
    file: 'src/connections/kafka/assignment.ts',
    find: '{ low: offset(low, partition), high: offset(high, partition) }',
    put: '{ low: 0n, high: offset(high, partition) }',
    caughtBy: [
      'test/service/offsets-out-of-range.engine.test.ts',
      'stop where records expired that they had not applied, say so, reset and skip nothing, and others go on',
    ],
    saying: /not within 60000 ms: readiness to say OFFSETS_EXPIRED/,
  },
  {
    promise: 'D7',
    name: 'goes back to the beginning of a topic that was made anew',
    file: 'src/consumers/partition-state.ts',
    find: 'if (offset > high)',
    put: 'if (offset > high && offset < 0n)',
    caughtBy: [
      'test/service/offsets-out-of-range.engine.test.ts',
      'stop where the topic was made anew and is shorter, say so, reset and skip nothing, and others go on',
    ],
    saying: /not within 60000 ms: readiness to say OFFSETS_BEYOND_END/,
  },
  {
    promise: 'D10',
    name: 'leaves while a transaction is on its way',
    file: 'src/producers/delta-feed-session.ts',
    find: '} finally {\n    await publisher.settled();\n  }',
    put: '}',
    caughtBy: [
      'test/producers/delta-feed.test.ts',
      'draining ends the transaction in hand and starts no other',
    ],
  },
  {
    promise: 'D10',
    name: 'begins another transaction though it is to end',
    file: 'src/producers/delta-feed-catch-up.ts',
    find: 'signal.throwIfAborted();\n    const batch = batcher.take();',
    put: 'const batch = batcher.take();',
    caughtBy: [
      'test/producers/delta-feed.test.ts',
      'draining ends the transaction in hand and starts no other',
    ],
  },
  {
    promise: 'D10',
    name: 'waits for others’ merges though it is to end',
    file: 'src/consumers/delta-merge.ts',
    find: 'offsets = await sink.claim([...ranges.keys()], startAt, leaving.signal);',
    put: 'offsets = await sink.claim([...ranges.keys()], startAt);',
    caughtBy: [
      'test/consumers/delta-merge-leaving.test.ts',
      'a merge loop ends at once though it waits for another replica’s merge to be told where to start',
    ],
  },
  {
    promise: 'D12',
    name: 'reads on though nobody takes what it has read',
    file: 'src/connections/kafka/partition-flow.ts',
    find: 'return this.lost.aborted || this.#buffered !== null ? null : this.#fetchFrom;',
    put: 'return this.lost.aborted ? null : this.#fetchFrom;',
    caughtBy: ['test/connections/kafka/partition-flow.test.ts', 'one batch is read ahead, not two'],
  },
];
