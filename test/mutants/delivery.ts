import type { Mutant } from './mutant.ts';

const HISTORY_FAULTS = [
  'test/consumers/history-faults.test.ts',
  'whatever fails, is repeated or changes hands: each change is applied exactly once and in order',
] as const;
const FEED_FAULTS = [
  'test/producers/delta-feed.faults.test.ts',
  'every change is on the topic exactly once and in order, whatever fails, dies or answers late',
] as const;
const LOST_ANSWER = [
  'test/consumers/postgres-history.test.ts',
  'a lost answer is recognised: nothing is applied twice, and it still counts as applied',
] as const;

const SEND = 'test/connections/kafka/transaction-send.test.ts';

export const deliveryMutants: readonly Mutant[] = [
  {
    promise: 'D1',
    name: 'takes what one broker refused for sent as another has acknowledged its own',
    file: 'src/connections/kafka/transaction-send.ts',
    find: 'return { left: theirs, error };',
    put: 'return { left: [], error };',
    caughtBy: [SEND, 'loses none of a partition that moves to a broker which has acknowledged others'],
  },
  {
    promise: 'D1',
    name: 'sends again what a broker has acknowledged',
    file: 'src/connections/kafka/transaction-send.ts',
    find: 'left: ended.flatMap(({ left }) => left),',
    put: 'left: ended.some(({ error }) => error !== null) ? parts : [],',
    caughtBy: [SEND, 'repeats nothing that another broker still has in hand'],
  },
  {
    promise: 'D1',
    name: 'gives a repeated send new numbers',
    file: 'src/connections/kafka/transaction-send.ts',
    find: 'state.updateSequence(topic, partition, -messages.length);',
    put: 'void topic;',
    caughtBy: [SEND, 'has what was written although the answer was lost once'],
  },
  {
    promise: 'D1',
    name: 'sends a transaction again whose answer was lost',
    file: 'src/producers/publisher.ts',
    find: 'await transaction(batch);',
    put: 'await transaction(batch).catch(() => transaction(batch));',
    caughtBy: ['test/producers/delta-feed.test.ts', 'a lost answer to a transaction publishes nothing twice'],
  },
  {
    promise: 'D1',
    name: 'notes only whole commits as published',
    file: 'src/flow/feed-batch.ts',
    find: 'position = { ...position, groups: seen };',
    put: '',
    caughtBy: FEED_FAULTS,
  },
  {
    promise: 'D1',
    name: 'takes an older mark for its own, and so an older position for the last one',
    file: 'src/connections/kafka/change-log.ts',
    find: 'return key === `${owner}#barrier` && record.value?.toString() === barrier;',
    put: 'return key === `${owner}#barrier`;',
    caughtBy: [
      'test/connections/kafka/change-log.engine.test.ts',
      'publishes each change exactly once: the commit was done',
    ],
  },
  {
    promise: 'D2',
    name: 'does not ask where the history stands after a lost answer',
    file: 'src/consumers/postgres-history.ts',
    find: 'holding.partition.forget();',
    put: '',
    caughtBy: LOST_ANSWER,
  },
  {
    promise: 'D2',
    name: 'does not count what was applied though the answer was lost',
    file: 'src/consumers/history-partition.ts',
    find: 'if (doubt !== null && offset === doubt.next) doubt.report(null);',
    put: '',
    caughtBy: LOST_ANSWER,
  },
  {
    promise: 'D2',
    name: 'passes over the record at which it goes on',
    file: 'src/consumers/history-partition.ts',
    find: 'if (record.offset < this.#read) continue;',
    put: 'if (record.offset <= this.#read) continue;',
    caughtBy: HISTORY_FAULTS,
  },
  {
    promise: 'D2',
    name: 'moves the offset past a whole batch with the first half of it',
    file: 'src/consumers/history-partition.ts',
    find: 'items[to]?.record.offset ?? next;',
    put: 'next;',
    caughtBy: HISTORY_FAULTS,
  },
  {
    promise: 'D3',
    name: 'opens the log again when it is fenced, without asking who leads',
    file: 'src/producers/producer-life.ts',
    find: "return { name: 'fenced' };",
    put: "return { name: 'failed', error };",
    caughtBy: [
      'test/producers/delta-feed.test.ts',
      'a zombie that still believes it leads publishes nothing',
    ],
  },
  {
    promise: 'D3',
    name: 'does not notice that its lease is gone',
    file: 'src/producers/producer-life.ts',
    find: 'AbortSignal.any([signal, lease.lost])',
    put: 'signal',
    caughtBy: [
      'test/producers/delta-feed.test.ts',
      'a standby takes over when the leader drains, and while its lease is gone',
    ],
    saying: /Not within 1000 ms: the leader knows/,
  },
  {
    promise: 'D3',
    name: 'names its transactions anew in each process',
    file: 'src/connections/kafka/change-log.ts',
    find: 'const transactionalId = `${positionsTopic}.${options.producerName}.${options.table}`;',
    put: 'const transactionalId = `${positionsTopic}.${options.producerName}.${options.table}.${randomUUID()}`;',
    caughtBy: [
      'test/connections/kafka/change-log.engine.test.ts',
      'fences the former owner: nothing of it becomes visible',
    ],
  },
  {
    promise: 'D3',
    name: 'names its transactions as another deployment does',
    file: 'src/connections/kafka/change-log.ts',
    find: 'const transactionalId = `${positionsTopic}.',
    put: 'const transactionalId = `deltaferry.',
    caughtBy: [
      'test/connections/kafka/change-log.engine.test.ts',
      'leaves the owner of another deployment alone, which has a table of the same name',
    ],
    saying: /FencedError/,
  },
  {
    promise: 'D3',
    name: 'asks only now and then whether the leader is gone',
    file: 'src/connections/postgres/leadership.ts',
    find: 'pollMs: 500,',
    put: 'pollMs: 20_000,',
    caughtBy: [
      'test/producers/feed-processes.engine.test.ts',
      'a standby takes over within 5 s of the death of the leader',
    ],
  },
  {
    promise: 'D3',
    name: 'leads without the lease once the answer to it was lost',
    file: 'src/flow/feed-state.ts',
    find: 'failed: backOff(false),',
    put: 'failed: backOff(true),',
    caughtBy: [
      'test/crash/lost-lease.engine.test.ts',
      'is one feed’s at a time all the same, and each change is published once',
    ],
  },
  {
    promise: 'D4',
    name: 'applies what it has wherever another owner has got to',
    file: 'src/consumers/history-partition.ts',
    find: 'applied = await sink.apply({ partition, expected, next, changes });',
    put: `applied = await sink.apply({ partition, expected, next, changes }).catch(async (error) => {
        if (!(error instanceof FencedError)) throw error;
        const at = (await sink.claim([partition], () => 0n)).get(partition) ?? 0n;
        return sink.apply({ partition, expected: at, next, changes });
      });`,
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'another owner is noticed: the batch is dropped and reading goes on where the sink stands',
    ],
  },
  {
    promise: 'D4',
    name: 'lets a batch through that begins before the stored offset',
    file: 'src/connections/postgres/history-sink.ts',
    find: 'AND next_offset = $4 AND held_by IS NULL',
    put: 'AND next_offset >= $4 AND held_by IS NULL',
    caughtBy: [
      'test/connections/postgres/history-sink.engine.test.ts',
      'a zombie with the old offset is fenced',
    ],
  },
  {
    promise: 'D4',
    name: 'takes a partition for its own that was taken away while the sink was asked',
    file: 'src/consumers/postgres-history.ts',
    find: 'if (holding === undefined || held.get(partition) !== holding) continue;',
    put: 'if (holding === undefined) continue;\n      held.set(partition, holding);',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'a partition that is taken away while the sink is asked is not taken for ours when the answer comes',
    ],
  },
  {
    promise: 'D5',
    name: 'moves the offset though the letter was not acknowledged',
    file: 'src/consumers/partition-letters.ts',
    find: 'await this.#options.deadLetters.send(unsent);',
    put: 'await this.#options.deadLetters.send(unsent).catch(() => {});',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'the offset does not pass a dead letter that was not acknowledged',
    ],
  },
  {
    promise: 'D5',
    name: 'writes no letter for what the database refuses',
    file: 'src/consumers/history-partition.ts',
    find: 'await this.#letters.send([this.#letters.letter(item.record, error)]);',
    put: '',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'a record that can never be applied is dead-lettered, its neighbours are applied',
    ],
  },
  {
    promise: 'D5',
    name: 'writes a letter again that was acknowledged',
    file: 'src/consumers/partition-letters.ts',
    find: 'this.#sent.add(letter.offset);',
    put: '',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'the offset does not pass a dead letter that was not acknowledged',
    ],
  },
  {
    promise: 'D5',
    name: 'sets changes aside because a clock is a little ahead',
    file: 'src/consumers/record-reader.ts',
    find: 'now() * 1000 + skewMicros',
    put: 'now() * 1000',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'a record that can never be applied is dead-lettered, its neighbours are applied',
    ],
  },
  {
    promise: 'D5',
    name: 'loses the neighbour of what is set aside',
    file: 'src/flow/isolate.ts',
    find: 'await isolate(work, middle, to);',
    put: 'await isolate(work, middle + 1, to);',
    caughtBy: [
      'test/flow/isolate.test.ts',
      'every good item is done once and in order, every bad one is set aside',
    ],
  },
  {
    promise: 'D6',
    name: 'sets records aside because the registry was wiped',
    file: 'src/consumers/record-reader.ts',
    find: 'if (!(error instanceof PoisonError)) throw error;',
    put: 'if (!(error instanceof Error)) throw error;',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'a wiped registry stops the partition and dead-letters nothing',
    ],
  },
  {
    promise: 'D6',
    name: 'sets every change aside because an audit table refuses something',
    file: 'src/connections/postgres/history-refusals.ts',
    find: 'if (!ofHistory)',
    put: 'if (ofHistory)',
    caughtBy: [
      'test/connections/postgres/history-refusals.engine.test.ts',
      'a check of the table that an audit trigger writes',
    ],
  },
  {
    promise: 'D6',
    name: 'tries for ever what a unique index of the users refuses',
    file: 'src/connections/postgres/history-refusals.ts',
    find: 'if (columns === null || isOwn(target, columns, partial === true)) return null;',
    put: 'if (columns !== null) return null;',
    caughtBy: [
      'test/connections/postgres/history-refusals.engine.test.ts',
      'a unique index that is not the history’s own',
    ],
  },
  {
    promise: 'D6',
    name: 'counts as applied what it has to try again',
    file: 'src/consumers/history-partition.ts',
    find: 'if (doubt !== null && offset === doubt.next) doubt.report(null);',
    put: 'if (doubt !== null) doubt.report(null);',
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'a transient failure is retried with growing waits and never dead-lettered',
    ],
  },
  {
    promise: 'D6',
    name: 'waits for a person where it should try again',
    file: 'src/error-policy.ts',
    find: "transient: 'retry',",
    put: "transient: 'stop',",
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'a transient failure is retried with growing waits and never dead-lettered',
    ],
  },
  {
    promise: 'D6',
    name: 'asks at full speed where only a person can help',
    file: 'src/error-policy.ts',
    find: "operator: 'stop',",
    put: "operator: 'retry',",
    caughtBy: [
      'test/consumers/postgres-history.test.ts',
      'what a person must mend stops the partition with its remedy, and is tried again slowly',
    ],
  },
  {
    promise: 'D6',
    name: 'ends the process once a COPY’s connection is given up',
    file: 'src/connections/postgres/copy-text.ts',
    find: "stream.on('error', (error) => {",
    put: "stream.once('error', (error) => {",
    caughtBy: [
      'test/connections/postgres/pool.engine.test.ts',
      'a server that falls silent in the midst of a COPY fails it, and nothing else',
    ],
    saying: /Connection terminated/,
  },
  {
    promise: 'D6',
    name: 'closes the session that others run on, since the one before was forgotten',
    file: 'src/connections/databricks/client.ts',
    find: 'if (isSessionLost(error) && started !== undefined) forget(started.on);',
    put: 'if (isSessionLost(error) && current !== undefined) forget(current);',
    caughtBy: [
      'test/connections/databricks/client.test.ts',
      'is given up by all who used it, and the new one by none of them',
    ],
  },
];
