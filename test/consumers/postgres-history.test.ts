import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OperatorError, TransientError } from '../../src/errors.ts';
import type { HistoryBatch } from '../../src/ports/history-sink.ts';
import {
  createPostgresHistory,
  type Applied,
  type PostgresHistoryOptions,
} from '../../src/consumers/postgres-history.ts';
import type { PartitionState } from '../../src/consumers/partition-state.ts';
import {
  batchOf,
  EMPLOYEES,
  fakeDeadLetters,
  fakeHistory,
  NOW,
  record,
  schemas,
  withFaults,
  type Fault,
  type RecordKind,
} from './fakes.ts';

const keepAlive = (): Promise<void> => Promise.resolve();

function setup(more: Partial<PostgresHistoryOptions> = {}, faults: Fault[] = []) {
  const moves: HistoryBatch[] = [];
  const sink = fakeHistory((batch) => moves.push(batch));
  const deadLetters = fakeDeadLetters();
  const states: PartitionState[] = [];
  const applied: Applied[] = [];
  const handler = createPostgresHistory({
    topic: 'employees_changes',
    table: EMPLOYEES,
    origin: 'postgres',
    sink: withFaults(sink, ['apply'], () => faults.shift() ?? 'none'),
    deadLetters,
    schemas,
    now: () => NOW,
    random: () => 0.5,
    onState: (_, state) => states.push(state),
    onApplied: (part) => applied.push(part),
    ...more,
  });
  return { handler, sink, moves, deadLetters, states, applied };
}

const wholeTopic = new Map([[0, { low: 0n, high: 1000n }]]);
const positions = (sink: ReturnType<typeof fakeHistory>): unknown[] =>
  (sink.applied.get(0) ?? []).map(({ position }) => position);

test('changes are applied in order and the offset moves with them', async () => {
  const { handler, sink, moves, states, applied } = setup();
  assert.deepEqual(await handler.assigned(wholeTopic), new Map([[0, 0n]]));
  const records = [0, 1, 2].map((offset) => record('good', offset, offset));
  const outcome = await handler.batch(batchOf(records, 0n, 4n), keepAlive);
  assert.deepEqual(outcome, { kind: 'done', next: 4n });
  assert.deepEqual(positions(sink), [0, 1, 2]);
  assert.deepEqual(
    moves.map(({ expected, next }) => [expected, next]),
    [[0n, 4n]],
  );
  assert.deepEqual(
    states.map(({ kind }) => kind),
    ['running'],
  );
  assert.equal(applied[0]?.latenciesMs[2], 1_000_000 - 2);
});

test('a partition that is taken away while the sink is asked is not taken for ours when the answer comes', async () => {
  const { promise: asked, resolve: answer } = Promise.withResolvers<void>();
  const { sink } = setup();
  let claims = 0;
  const { handler, states } = setup({
    sink: {
      ...sink,
      async claim(partitions, startAt) {
        if (++claims === 1) await asked;
        return await sink.claim(partitions, startAt);
      },
    },
  });
  const late = handler.assigned(wholeTopic);
  handler.revoked([0]);
  answer();
  assert.deepEqual(await late, new Map());
  assert.deepEqual(await handler.assigned(wholeTopic), new Map([[0, 0n]]));
  assert.deepEqual(
    states.map(({ kind }) => kind),
    ['released', 'running'],
  );
});

describe('a record that can never be applied is dead-lettered, its neighbours are applied', () => {
  const cases: { kind: RecordKind; code: string }[] = [
    { kind: 'garbage', code: 'UNDECODABLE' },
    { kind: 'unknown schema', code: 'UNKNOWN_SCHEMA' },
    { kind: 'no key', code: 'KEY_MISSING' },
    { kind: 'wrong key', code: 'KEY_MISMATCH' },
    { kind: 'future', code: 'EVENT_IN_FUTURE' },
    { kind: 'beyond every date', code: 'EVENT_IN_FUTURE' },
    { kind: 'unstorable', code: 'VALUE_REFUSED' },
  ];
  for (const { kind, code } of cases)
    test(kind, async () => {
      const { handler, sink, deadLetters } = setup();
      await handler.assigned(wholeTopic);
      const records = ['good', 'good', kind, 'good', 'good'] as const;
      const outcome = await handler.batch(
        batchOf(
          records.map((each, offset) => record(each, offset, offset)),
          0n,
          5n,
        ),
        keepAlive,
      );
      assert.deepEqual(outcome, { kind: 'done', next: 5n });
      assert.deepEqual(positions(sink), [0, 1, 3, 4]);
      assert.equal(sink.offsets.get(0), 5n);
      const [letter, ...others] = deadLetters.letters;
      assert.equal(others.length, 0);
      assert.deepEqual([letter?.errorCode, letter?.offset, letter?.topic], [code, 2n, 'employees_changes']);
      assert.deepEqual(letter?.value, record(kind, 2, 2).value);
    });

  test('a clock that is ahead by no more than clocks may be makes none', async () => {
    const eventTime = NOW - 1_000_000;
    for (const [aheadMs, letters] of [
      [300_000, 0],
      [300_001, 1],
    ] as const) {
      const { handler, deadLetters } = setup({ now: () => eventTime - aheadMs });
      await handler.assigned(wholeTopic);
      await handler.batch(batchOf([record('good', 1, 0)], 0n, 1n), keepAlive);
      assert.equal(deadLetters.letters.length, letters);
    }
  });
});

test('the offset does not pass a dead letter that was not acknowledged', async () => {
  let refuse = true;
  const letters = fakeDeadLetters();
  // The last fault: the letter of offset 2 is acknowledged, the offset cannot be moved behind it yet.
  const { handler, sink, states } = setup(
    {
      maxBatchChanges: 1,
      deadLetters: {
        async send(sent) {
          if (refuse) throw new TransientError({ code: 'KAFKA_UNAVAILABLE', message: 'no broker' });
          await letters.send(sent);
        },
      },
    },
    ['none', 'none', 'before'],
  );
  await handler.assigned(wholeTopic);
  const batch = batchOf([record('garbage', 3, 0), record('good', 1, 1), record('unstorable', 2, 2)], 0n, 3n);
  assert.equal((await handler.batch(batch, keepAlive)).kind, 'pause');
  assert.equal(sink.offsets.get(0), 0n);
  assert.equal(states.at(-1)?.kind, 'retrying');
  refuse = false;
  assert.equal((await handler.batch(batch, keepAlive)).kind, 'pause');
  assert.equal(sink.offsets.get(0), 2n);
  assert.deepEqual(await handler.batch(batch, keepAlive), { kind: 'done', next: 3n });
  // Each once: what was acknowledged is not written again.
  assert.deepEqual(
    letters.letters.map(({ offset }) => offset),
    [0n, 2n],
  );
  assert.deepEqual(positions(sink), [1]);
});

test('own changes are passed over and the offset follows', async () => {
  const { handler, sink, applied } = setup();
  await handler.assigned(wholeTopic);
  await handler.batch(batchOf([record('own', 1, 0), record('own', 2, 1)], 0n, 2n), keepAlive);
  assert.deepEqual(positions(sink), []);
  assert.equal(sink.offsets.get(0), 2n);
  assert.equal(applied[0]?.skipped, 2);
});

test('control records alone cost no transaction, and the next batch still fits', async () => {
  const { handler, sink, moves } = setup();
  await handler.assigned(wholeTopic);
  const more = { ...batchOf([], 0n, 3n), end: 4n };
  assert.deepEqual(await handler.batch(more, keepAlive), { kind: 'done', next: 3n });
  assert.equal(moves.length, 0);
  assert.deepEqual(await handler.batch(batchOf([record('good', 1, 3)], 3n, 4n), keepAlive), {
    kind: 'done',
    next: 4n,
  });
  assert.deepEqual(
    moves.map(({ expected, next }) => [expected, next]),
    [[0n, 4n]],
  );
  assert.equal(sink.offsets.get(0), 4n);
});

test('control records at the end of a partition are passed for good: once retention drops them nothing is missing', async () => {
  const { handler, sink, moves, states } = setup();
  await handler.assigned(wholeTopic);
  await handler.batch({ ...batchOf([record('good', 1, 0)], 0n, 1n), end: 2n }, keepAlive);
  for (let time = 0; time < 2; time++) await handler.batch(batchOf([], 1n, 2n), keepAlive);
  assert.deepEqual([sink.offsets.get(0), moves.length], [2n, 2]);
  handler.revoked([0]);
  assert.deepEqual(await handler.assigned(new Map([[0, { low: 2n, high: 2n }]])), new Map([[0, 2n]]));
  assert.deepEqual(
    states.map(({ kind }) => kind),
    ['running', 'released', 'running'],
  );
});

test('a large fetch is cut into transactions of bounded size', async () => {
  const { handler, moves } = setup({ maxBatchChanges: 4 });
  await handler.assigned(wholeTopic);
  const records = Array.from({ length: 10 }, (_, offset) => record('good', offset, offset));
  await handler.batch(batchOf(records, 0n, 11n), keepAlive);
  assert.deepEqual(
    moves.map(({ changes, next }) => [changes.length, next]),
    [
      [4, 4n],
      [4, 8n],
      [2, 11n],
    ],
  );
  const bySize = setup({ maxBatchBytes: 1 });
  await bySize.handler.assigned(wholeTopic);
  await bySize.handler.batch(batchOf(records, 0n, 10n), keepAlive);
  assert.equal(bySize.moves.length, 10);
});

test('a lost answer is recognised: nothing is applied twice, and it still counts as applied', async () => {
  const { handler, sink, applied, states } = setup({}, ['after']);
  await handler.assigned(wholeTopic);
  const batch = batchOf([record('good', 1, 0), record('good', 2, 1)], 0n, 2n);
  const outcome = await handler.batch(batch, keepAlive);
  assert.equal(outcome.kind, 'pause');
  assert.deepEqual(await handler.batch(batch, keepAlive), { kind: 'done', next: 2n });
  assert.deepEqual(positions(sink), [0, 1]);
  assert.deepEqual(
    applied.map(({ changes }) => changes.length),
    [2],
  );
  assert.deepEqual(
    states.map(({ kind }) => kind),
    ['running', 'retrying', 'running'],
  );
});

test('a transient failure is retried with growing waits and never dead-lettered', async () => {
  const { handler, deadLetters, sink, applied } = setup({}, ['before', 'before', 'before']);
  await handler.assigned(wholeTopic);
  const batch = batchOf([record('good', 1, 0)], 0n, 1n);
  const waits: number[] = [];
  for (
    let outcome = await handler.batch(batch, keepAlive);
    outcome.kind === 'pause';
    outcome = await handler.batch(batch, keepAlive)
  )
    waits.push(outcome.ms);
  assert.deepEqual(waits, [200, 350, 575]);
  assert.deepEqual([deadLetters.letters.length, positions(sink)], [0, [0]]);
  assert.equal(applied.length, 1, 'it counts once');
});

test('what a person must mend stops the partition with its remedy, and is tried again slowly', async () => {
  const { handler, states, deadLetters, sink } = setup({ stoppedRetryMs: 5000 }, ['operator']);
  await handler.assigned(wholeTopic);
  const batch = batchOf([record('good', 1, 0)], 0n, 1n);
  assert.deepEqual(await handler.batch(batch, keepAlive), { kind: 'pause', ms: 5000 });
  const stopped = states.at(-1);
  assert.equal(stopped?.kind === 'stopped' ? stopped.remedy : '', 'grant it');
  assert.equal((await handler.batch(batch, keepAlive)).kind, 'done');
  assert.equal(states.at(-1)?.kind, 'running');
  assert.deepEqual([deadLetters.letters.length, positions(sink)], [0, [0]]);
});

test('a wiped registry stops the partition and dead-letters nothing', async () => {
  const { handler, states, deadLetters } = setup({
    schemas: {
      async schemaById() {
        throw new OperatorError({ code: 'REGISTRY_WIPED', message: 'wiped', remedy: 'restore it' });
      },
    },
  });
  await handler.assigned(wholeTopic);
  assert.equal((await handler.batch(batchOf([record('good', 1, 0)], 0n, 1n), keepAlive)).kind, 'pause');
  assert.deepEqual([states.at(-1)?.kind, deadLetters.letters.length], ['stopped', 0]);
});

test('a fetch full of schemas that are not ours is no poison: the registry was wiped and filled again', async () => {
  const { handler, states, sink } = setup();
  await handler.assigned(wholeTopic);
  const records = Array.from({ length: 101 }, (_, offset) => record('unknown schema', offset, offset));
  assert.equal((await handler.batch(batchOf(records, 0n, 101n), keepAlive)).kind, 'pause');
  const stopped = states.at(-1);
  assert.match(stopped?.kind === 'stopped' ? stopped.remedy : '', /registry was wiped/);
  assert.equal(sink.offsets.get(0), 0n);
});

test('another owner is noticed: the batch is dropped and reading goes on where the sink stands', async () => {
  const { handler, sink } = setup();
  await handler.assigned(wholeTopic);
  await sink.apply({ partition: 0, expected: 0n, next: 5n, changes: [] });
  const batch = batchOf([record('good', 1, 0)], 0n, 1n);
  assert.deepEqual(await handler.batch(batch, keepAlive), { kind: 'seek', offset: 5n });
  assert.deepEqual(positions(sink), []);
});

test('what another owner applied is not counted as ours, though it ends at the same offset', async () => {
  const { handler, sink, applied } = setup();
  await handler.assigned(wholeTopic);
  await sink.apply({ partition: 0, expected: 0n, next: 1n, changes: [] });
  const batch = batchOf([record('good', 1, 0)], 0n, 1n);
  assert.deepEqual(await handler.batch(batch, keepAlive), { kind: 'seek', offset: 1n });
  assert.equal(applied.length, 0);
});

test('a gap is never jumped', async () => {
  const { handler } = setup();
  await handler.assigned(wholeTopic);
  assert.deepEqual(await handler.batch(batchOf([record('good', 1, 5)], 5n, 6n), keepAlive), {
    kind: 'seek',
    offset: 0n,
  });
});

describe('an offset that the topic does not have stops the partition, it is never reset', () => {
  const cases = [
    {
      name: 'retention passed it',
      range: { low: 10n, high: 20n },
      code: 'OFFSETS_EXPIRED',
      remedy: /`deltaferry backfill employees`/,
    },
    {
      name: 'the topic was created anew',
      range: { low: 0n, high: 2n },
      code: 'OFFSETS_BEYOND_END',
      remedy: /Restore/,
    },
  ];
  for (const { name, range, code, remedy } of cases)
    test(name, async () => {
      const { handler, sink, states } = setup();
      await sink.claim([0], () => 3n);
      assert.deepEqual(await handler.assigned(new Map([[0, range]])), new Map());
      const stopped = states.at(-1);
      assert.ok(stopped?.kind === 'stopped' && stopped.error instanceof OperatorError);
      assert.equal(stopped.error.code, code);
      assert.match(stopped.remedy, remedy);
    });
});

test('a new group starts where the topic begins', async () => {
  const { handler, sink } = setup();
  assert.deepEqual(await handler.assigned(new Map([[0, { low: 4n, high: 9n }]])), new Map([[0, 4n]]));
  assert.equal(sink.offsets.get(0), 4n);
});

test('a sink that does not answer at assignment is asked again soon', async () => {
  const broken = {
    ...fakeHistory(),
    claim: () => Promise.reject(new TransientError({ code: 'X', message: 'down' })),
  };
  const { handler, states } = setup({ sink: broken });
  await assert.rejects(handler.assigned(wholeTopic), TransientError);
  assert.equal(states.at(-1)?.kind, 'retrying');
});
