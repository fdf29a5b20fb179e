import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OperatorError, TransientError } from '../../src/errors.ts';
import type { BatchOutcome, StreamRecord } from '../../src/ports/record-stream.ts';
import { fakeMergeSink } from '../support/fake-merge-sink.ts';
import { until } from '../support/until.ts';
import { batchOf, fakeDeadLetters, NOW, record, type RecordKind } from './fakes.ts';
import { mergeUnderTest, type MergeUnderTest } from './merging.ts';

const keepAlive = (): Promise<void> => Promise.resolve();
const forever = new AbortController().signal;
const wholeTopic = new Map([[0, { low: 0n, high: 100_000n }]]);
const bothPartitions = new Map([...wholeTopic, [1, { low: 0n, high: 100_000n }] as const]);

const rows = ({ sink }: MergeUnderTest): unknown =>
  Object.fromEntries([...sink.rows].map(([key, row]) => [key, row[1]]));

/** Records at the offsets from `from` on; a number is a good one of that key. */
function records(from: number, ...kinds: (RecordKind | number)[]): StreamRecord[] {
  return kinds.map((kind, at) =>
    typeof kind === 'number' ? record('good', kind, from + at) : record(kind, 100 + from + at, from + at),
  );
}

function deliver(
  { handler }: MergeUnderTest,
  from: number,
  given: readonly StreamRecord[],
  partition = 0,
): Promise<BatchOutcome> {
  return handler.batch(batchOf(given, BigInt(from), BigInt(from + given.length), partition), keepAlive);
}

/** Whether it is still not over after everything that can happen at once has happened. */
async function isPending(work: Promise<unknown>): Promise<boolean> {
  let over = false;
  void work.finally(() => (over = true));
  await new Promise((resolve) => setImmediate(resolve));
  return !over;
}

test('a batch is done once it is held; offsets that tools see follow the merge', async () => {
  const underWay: unknown[] = [];
  const merge = mergeUnderTest({}, [], { onMerge: () => void underWay.push(merge.handler.durable?.()) });
  assert.deepEqual(await merge.handler.assigned(wholeTopic), new Map([[0, 0n]]));
  assert.deepEqual(await deliver(merge, 0, records(0, 1, 2, 1)), { kind: 'done', next: 3n });
  assert.deepEqual([merge.handler.durable?.(), merge.sink.merges.length], [new Map([[0, 0n]]), 0]);
  assert.equal(merge.lags.get(0), 3);
  await merge.settle();
  assert.deepEqual(underWay, [new Map([[0, 0n]])]);
  assert.deepEqual([merge.handler.durable?.(), merge.lags.get(0)], [new Map([[0, 3n]]), 0]);
  assert.deepEqual(rows(merge), { 1: 'v2', 2: 'v1' });
  assert.deepEqual(
    merge.states.map(({ kind }) => kind),
    ['running'],
  );
});

test('one merge holds the last change of each key, of all partitions', async () => {
  const merge = mergeUnderTest();
  await merge.handler.assigned(bothPartitions);
  await deliver(merge, 0, [...records(0, 1, 2, 1), record('delete', 2, 3)]);
  await deliver(merge, 0, records(0, 3), 1);
  await merge.settle();
  assert.equal(merge.sink.merges.length, 1);
  assert.deepEqual(
    merge.sink.merges[0]?.map(({ partition, expected, next, changes }) => [
      partition,
      expected,
      next,
      changes.map(({ key, op }) => `${op} ${key}`),
    ]),
    [
      [0, 0n, 4n, ['update 1', 'delete 2']],
      [1, 0n, 1n, ['update 3']],
    ],
  );
  const [report] = merge.reports;
  assert.deepEqual([report?.changes.length, report?.records, report?.latenciesMs.length], [3, 5, 5]);
  assert.equal(report?.latenciesMs[0], 1_000_000);
});

describe('a record that can never be merged is dead-lettered, its neighbours are merged', () => {
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
      const merge = mergeUnderTest();
      await merge.handler.assigned(wholeTopic);
      await deliver(merge, 0, records(0, 1, 2, kind, 3, 1));
      await merge.settle();
      assert.deepEqual(rows(merge), { 1: 'v4', 2: 'v1', 3: 'v3' });
      assert.equal(merge.sink.offsets.get(0), 5n);
      const [letter, ...others] = merge.deadLetters.letters;
      assert.equal(others.length, 0);
      assert.deepEqual(
        [letter?.errorCode, letter?.partition, letter?.offset, letter?.topic, letter?.firstSeen],
        [code, 0, 2n, 'employees_changes', NOW * 1000],
      );
      assert.deepEqual(letter?.key, record(kind, 102, 2).key);
      assert.deepEqual(letter?.value, record(kind, 102, 2).value);
    });
});

test('where the last change of a key is refused, the one before it holds', async () => {
  const merge = mergeUnderTest();
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, [...records(0, 1, 1), record('unstorable', 1, 2)]);
  await merge.settle();
  assert.deepEqual(rows(merge), { 1: 'v1' });
  assert.deepEqual(
    merge.deadLetters.letters.map(({ offset }) => offset),
    [2n],
  );
});

test('one bad record among many is found by halves', async () => {
  const merge = mergeUnderTest();
  await merge.handler.assigned(wholeTopic);
  const given = Array.from({ length: 1024 }, (_, at) => record(at === 700 ? 'unstorable' : 'good', at, at));
  await deliver(merge, 0, given);
  await merge.settle();
  assert.deepEqual(
    merge.deadLetters.letters.map(({ offset }) => offset),
    [700n],
  );
  assert.equal(merge.sink.rows.size, 1023);
  assert.ok(merge.tries.count <= 2 * 10 + 2, `${merge.tries.count} merges`);
  await deliver(merge, 1024, records(1024, 1, 2));
  await merge.settle();
  assert.equal(merge.sink.merges.at(-1)?.[0]?.changes.length, 2);
});

test('a bad record of one partition holds up no other', async () => {
  const merge = mergeUnderTest();
  await merge.handler.assigned(bothPartitions);
  await deliver(merge, 0, records(0, 'unstorable', 1));
  await deliver(merge, 0, records(0, 2, 3), 1);
  await merge.settle();
  assert.deepEqual(rows(merge), { 1: 'v1', 2: 'v0', 3: 'v1' });
  assert.deepEqual(
    merge.sink.offsets,
    new Map([
      [0, 2n],
      [1, 2n],
    ]),
  );
});

test('the offset does not pass a dead letter that was not acknowledged', async () => {
  let refuse = true;
  const letters = fakeDeadLetters();
  const merge = mergeUnderTest({
    deadLetters: {
      async send(sent) {
        if (refuse) throw new TransientError({ code: 'KAFKA_UNAVAILABLE', message: 'no broker' });
        await letters.send(sent);
      },
    },
  });
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, records(0, 1, 'unstorable', 'garbage'));
  for (let tries = 0; tries < 20; tries++) merge.time.ms += await merge.tend(forever);
  assert.ok((merge.sink.offsets.get(0) ?? 0n) <= 1n);
  assert.equal(merge.states.at(-1)?.kind, 'retrying');
  refuse = false;
  await merge.settle();
  assert.equal(merge.sink.offsets.get(0), 3n);
  assert.deepEqual(
    letters.letters.map(({ offset }) => offset),
    [2n, 1n],
  );
  assert.equal(merge.states.at(-1)?.kind, 'running');
});

test('own changes are passed over and the offset follows, with the next changes or by its age', async () => {
  const merge = mergeUnderTest({ maxAgeMs: 3000 });
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, records(0, 'own', 'own'));
  assert.equal(await merge.tend(forever), 3000);
  await merge.settle();
  assert.deepEqual([rows(merge), merge.sink.offsets.get(0)], [{}, 2n]);
  assert.deepEqual([merge.reports[0]?.skipped, merge.reports[0]?.merged?.sent], [2, 'nothing']);
  await deliver(merge, 2, records(2, 'own', 1));
  await merge.settle();
  assert.deepEqual([rows(merge), merge.sink.offsets.get(0), merge.reports[1]?.skipped], [{ 1: 'v3' }, 4n, 1]);
});

test('control records alone cost no merge; tools see them passed, and the next batch still fits', async () => {
  const merge = mergeUnderTest();
  await merge.handler.assigned(wholeTopic);
  const more = { ...batchOf([], 0n, 3n), end: 4n };
  assert.deepEqual(await merge.handler.batch(more, keepAlive), { kind: 'done', next: 3n });
  assert.equal(await merge.tend(forever), Infinity);
  assert.deepEqual([merge.handler.durable?.().get(0), merge.lags.get(0)], [3n, 1]);
  await deliver(merge, 3, records(3, 1));
  await merge.settle();
  assert.deepEqual([merge.sink.merges[0]?.[0]?.expected, merge.sink.offsets.get(0)], [0n, 4n]);
});

test('control records at the end of a partition are passed for good, in no hurry: once retention drops them nothing is missing', async () => {
  const merge = mergeUnderTest({ maxAgeMs: 3000 });
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, records(0, 1));
  await merge.settle();
  await merge.handler.batch(batchOf([], 1n, 2n), keepAlive);
  assert.equal(await merge.tend(forever), 3000);
  await merge.settle();
  assert.deepEqual([merge.sink.offsets.get(0), merge.reports[1]?.merged?.sent], [2n, 'nothing']);
  assert.equal(await merge.tend(forever), Infinity);
  assert.deepEqual(await merge.handler.assigned(new Map([[0, { low: 2n, high: 2n }]])), new Map([[0, 2n]]));
});

describe('while there is no room a batch waits', () => {
  const full = async (): Promise<{ merge: MergeUnderTest; waiting: Promise<BatchOutcome> }> => {
    const merge = mergeUnderTest({ maxChanges: 3 });
    await merge.handler.assigned(bothPartitions);
    await deliver(merge, 0, records(0, 1, 2));
    const waiting = deliver(merge, 0, records(0, 3, 4, 5, 6, 7), 1);
    assert.ok(await isPending(waiting));
    return { merge, waiting };
  };

  test('until merges have taken what is held', async () => {
    const { merge, waiting } = await full();
    await merge.tend(forever);
    assert.ok(await isPending(waiting));
    await merge.settle();
    assert.deepEqual(await waiting, { kind: 'done', next: 5n });
    await merge.settle();
    assert.equal(merge.sink.rows.size, 7);
    assert.ok(merge.sink.merges.every((parts) => parts.flatMap(({ changes }) => changes).length <= 3));
  });

  test('in peace: many that wait do not keep each other, and everything else, busy', async () => {
    const merge = mergeUnderTest({ maxChanges: 1 });
    await merge.handler.assigned(bothPartitions);
    const waiting = [0, 1].map((partition) =>
      deliver(merge, 0, records(0, 1 + partition, 3 + partition), partition),
    );
    for (const each of waiting) assert.ok(await isPending(each));
    await merge.settle();
    for (const each of waiting) assert.equal((await each).kind, 'done');
  });

  test('and is let go when its partition is taken away: nothing of it is merged afterwards', async () => {
    const { merge, waiting } = await full();
    merge.handler.revoked([1]);
    await waiting;
    await merge.settle();
    assert.deepEqual(rows(merge), { 1: 'v0', 2: 'v1' });
  });

  test('and is let go when another partition makes room by going away', async () => {
    const merge = mergeUnderTest({ maxChanges: 3 });
    await merge.handler.assigned(bothPartitions);
    await deliver(merge, 0, records(0, 1, 2, 3));
    const waiting = deliver(merge, 0, records(0, 4), 1);
    assert.ok(await isPending(waiting));
    merge.handler.revoked([0]);
    assert.deepEqual(await waiting, { kind: 'done', next: 1n });
    await merge.settle();
    assert.deepEqual(rows(merge), { 4: 'v0' });
  });
});

test('a lost answer is recognised: nothing is merged twice, a person’s edit since then stays, and it counts once', async () => {
  const merge = mergeUnderTest({}, ['after']);
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, [...records(0, 1), record('delete', 2, 1)]);
  merge.time.ms += await merge.tend(forever);
  await merge.tend(forever);
  // After the merge landed and before we know it.
  const table = merge.sink.rows as Map<string, readonly (string | number)[]>;
  table.set('1', [1, 'edited']);
  table.set('2', [2, 'born again']);
  await merge.settle();
  assert.deepEqual(rows(merge), { 1: 'edited', 2: 'born again' });
  assert.deepEqual(
    merge.reports.map(({ records: count, merged }) => [count, merged]),
    [[2, null]],
  );
  assert.deepEqual(
    merge.states.map(({ kind }) => kind),
    ['running', 'retrying', 'running'],
  );
});

test('a transient failure is retried with growing waits, never dead-lettered, and reading goes on meanwhile', async () => {
  const merge = mergeUnderTest({}, ['before', 'before', 'before']);
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, records(0, 1));
  const waits: number[] = [];
  for (let tries = 0; tries < 8; tries++) {
    const ms = await merge.tend(forever);
    if (ms > 0) waits.push(ms);
    merge.time.ms += ms;
    if (tries === 2) assert.equal((await deliver(merge, 1, records(1, 2))).kind, 'done');
  }
  assert.deepEqual(waits, [200, 200, 350, 575]);
  await merge.settle();
  assert.deepEqual([merge.deadLetters.letters.length, rows(merge)], [0, { 1: 'v0', 2: 'v1' }]);
  assert.deepEqual(
    merge.sink.merges.map(([part]) => part?.next),
    [1n, 2n],
  );
});

test('what a person must mend stops the partitions with its remedy, and is tried again slowly', async () => {
  const merge = mergeUnderTest({ stoppedRetryMs: 5000 }, ['operator']);
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, records(0, 1));
  merge.time.ms += await merge.tend(forever);
  await merge.tend(forever);
  const stopped = merge.states.at(-1);
  assert.equal(stopped?.kind === 'stopped' ? stopped.remedy : '', 'grant it');
  // What comes in meanwhile does not make it look well.
  await deliver(merge, 1, records(1, 2));
  assert.equal(merge.states.at(-1)?.kind, 'stopped');
  assert.equal(await merge.tend(forever), 5000);
  await merge.settle();
  assert.equal(merge.states.at(-1)?.kind, 'running');
  assert.deepEqual([merge.deadLetters.letters.length, rows(merge)], [0, { 1: 'v0', 2: 'v1' }]);
});

test('poison that no record can be blamed for stops, it is not dead-lettered', async () => {
  const merge = mergeUnderTest({ stoppedRetryMs: 5000 }, ['poison']);
  await merge.handler.assigned(wholeTopic);
  await deliver(merge, 0, records(0, 'own'));
  merge.time.ms += await merge.tend(forever);
  await merge.tend(forever);
  assert.deepEqual([merge.states.at(-1)?.kind, merge.deadLetters.letters.length], ['stopped', 0]);
});

test('a wiped registry stops the partition and dead-letters nothing', async () => {
  const merge = mergeUnderTest({
    stoppedRetryMs: 7000,
    schemas: {
      async schemaById() {
        throw new OperatorError({ code: 'REGISTRY_WIPED', message: 'wiped', remedy: 'restore it' });
      },
    },
  });
  await merge.handler.assigned(wholeTopic);
  assert.deepEqual(await deliver(merge, 0, records(0, 1)), { kind: 'pause', ms: 7000 });
  assert.deepEqual([merge.states.at(-1)?.kind, merge.deadLetters.letters.length], ['stopped', 0]);
  assert.equal(await merge.tend(forever), Infinity);
});

describe('another owner is noticed', () => {
  test('what is held of the partition is dropped and read anew, the others are merged', async () => {
    const merge = mergeUnderTest();
    await merge.handler.assigned(bothPartitions);
    await deliver(merge, 0, records(0, 1));
    await deliver(merge, 0, records(0, 2), 1);
    await merge.sink.merge([{ partition: 0, expected: 0n, next: 5n, changes: [] }], forever);
    await merge.settle();
    assert.deepEqual([rows(merge), merge.stream.rereads], [{ 2: 'v0' }, [[0]]]);
    assert.equal((await deliver(merge, 1, records(1, 9))).kind, 'pause');
    assert.deepEqual(await merge.handler.assigned(wholeTopic), new Map([[0, 5n]]));
    await deliver(merge, 5, records(5, 3));
    await merge.settle();
    assert.deepEqual(rows(merge), { 2: 'v0', 3: 'v5' });
    // A first fence is no trouble to show.
    assert.ok(merge.states.every(({ kind }) => kind === 'running'));
  });

  test('what came behind it is dropped too', async () => {
    const merge = mergeUnderTest({ maxChanges: 2 });
    await merge.handler.assigned(wholeTopic);
    await merge.sink.merge([{ partition: 0, expected: 0n, next: 1n, changes: [] }], forever);
    const waiting = deliver(merge, 0, records(0, 1, 2, 3, 4));
    assert.ok(await isPending(waiting));
    await merge.settle();
    await waiting;
    await merge.settle();
    assert.deepEqual([rows(merge), merge.stream.rereads], [{}, [[0]]]);
  });

  test('what it merged is not counted as ours, though it ends at the same offset', async () => {
    const merge = mergeUnderTest();
    await merge.handler.assigned(wholeTopic);
    await deliver(merge, 0, records(0, 1));
    await merge.sink.merge([{ partition: 0, expected: 0n, next: 1n, changes: [] }], forever);
    await merge.settle();
    assert.deepEqual([merge.reports.length, rows(merge)], [0, {}]);
  });
});

describe('a partition that is taken away', () => {
  test('loses what is held of it', async () => {
    const merge = mergeUnderTest();
    await merge.handler.assigned(bothPartitions);
    await deliver(merge, 0, records(0, 1));
    await deliver(merge, 0, records(0, 2), 1);
    merge.handler.revoked([0]);
    await merge.settle();
    assert.deepEqual([rows(merge), merge.sink.offsets.get(0)], [{ 2: 'v0' }, 0n]);
    assert.deepEqual(merge.handler.durable?.(), new Map([[1, 1n]]));
    assert.equal(merge.states.filter(({ kind }) => kind === 'released').length, 1);
  });

  test('is left out of the next try of a merge that failed', async () => {
    const merge = mergeUnderTest({}, ['before']);
    await merge.handler.assigned(bothPartitions);
    await deliver(merge, 0, records(0, 1));
    await deliver(merge, 0, records(0, 2), 1);
    merge.time.ms += await merge.tend(forever);
    await merge.tend(forever);
    merge.handler.revoked([0]);
    await merge.settle();
    assert.deepEqual(rows(merge), { 2: 'v0' });
  });

  test('and comes back while a merge with it is under way is asked for after that', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const merge = mergeUnderTest({}, [], { onMerge: () => held });
    await merge.handler.assigned(wholeTopic);
    await deliver(merge, 0, records(0, 1));
    merge.time.ms += await merge.tend(forever);
    const merging = merge.tend(forever);
    merge.handler.revoked([0]);
    const asked = merge.handler.assigned(wholeTopic);
    assert.ok(await isPending(asked));
    release();
    await merging;
    assert.deepEqual(await asked, new Map([[0, 1n]]));
    assert.deepEqual(await deliver(merge, 1, records(1, 2)), { kind: 'done', next: 2n });
    await merge.settle();
    assert.deepEqual([rows(merge), merge.stream.rereads], [{ 1: 'v0', 2: 'v1' }, []]);
  });
});

test('a gap is never jumped, and what is held already is not taken twice', async () => {
  const merge = mergeUnderTest();
  await merge.handler.assigned(wholeTopic);
  assert.deepEqual(await deliver(merge, 5, records(5, 1)), { kind: 'seek', offset: 0n });
  await deliver(merge, 0, records(0, 1, 2, 3));
  assert.deepEqual(await deliver(merge, 0, records(0, 1)), { kind: 'seek', offset: 3n });
  assert.deepEqual(await deliver(merge, 1, records(1, 2, 3, 4)), { kind: 'done', next: 4n });
  await merge.settle();
  assert.equal(merge.reports[0]?.records, 4);
});

describe('an offset that the topic does not have stops the partition, it is never reset', () => {
  const cases = [
    {
      name: 'retention passed it',
      range: { low: 10n, high: 20n },
      code: 'OFFSETS_EXPIRED',
      remedy: /`deltaferry backfill employees --from postgres`/,
    },
    {
      name: 'the topic was created anew',
      range: { low: 0n, high: 2n },
      code: 'OFFSETS_BEYOND_END',
      remedy: /Restore .* begin at its start .*`deltaferry backfill employees --from postgres`/,
    },
  ];
  for (const { name, range, code, remedy } of cases)
    test(name, async () => {
      const merge = mergeUnderTest();
      await merge.sink.claim([0], () => 3n);
      assert.deepEqual(await merge.handler.assigned(new Map([[0, range]])), new Map());
      const stopped = merge.states.at(-1);
      assert.ok(stopped?.kind === 'stopped' && stopped.error instanceof OperatorError);
      assert.equal(stopped.error.code, code);
      assert.match(stopped.error.message, /the Delta table of employees is at 3/);
      assert.match(stopped.remedy, remedy);
    });

  test('and is gone on with once a load has moved the sink to where the topic begins', async () => {
    const merge = mergeUnderTest();
    await merge.sink.claim([0], () => 3n);
    const range = new Map([[0, { low: 10n, high: 20n }]]);
    assert.deepEqual(await merge.handler.assigned(range), new Map());
    (merge.sink.offsets as Map<number, bigint>).set(0, 10n);
    assert.deepEqual(await merge.handler.assigned(range), new Map([[0, 10n]]));
    await deliver(merge, 10, records(10, 1));
    await merge.settle();
    assert.equal(merge.reports[0]?.records, 1);
  });
});

test('a sink that does not answer at assignment is asked again soon', async () => {
  const broken = {
    ...fakeMergeSink(),
    claim: () => Promise.reject(new TransientError({ code: 'X', message: 'down' })),
  };
  const merge = mergeUnderTest({ sink: broken });
  await assert.rejects(merge.handler.assigned(wholeTopic), TransientError);
  assert.equal(merge.states.at(-1)?.kind, 'retrying');
});

describe('run', () => {
  test('merges what comes without being asked, and ends with the signal after the merge in hand', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const stop = new AbortController();
    const merge = mergeUnderTest({ minAgeMs: 0, clock: () => performance.now() }, [], {
      onMerge: () => {
        begin();
        return held;
      },
    });
    const running = merge.run(stop.signal);
    assert.equal(merge.stream.handler, merge.handler);
    await merge.handler.assigned(wholeTopic);
    await deliver(merge, 0, records(0, 1));
    await begun;
    await deliver(merge, 1, records(1, 2));
    stop.abort();
    assert.ok(await isPending(running));
    release();
    await running;
    // What came behind it is for whoever comes next.
    assert.deepEqual([rows(merge), merge.sink.offsets.get(0)], [{ 1: 'v0' }, 1n]);
  });

  test('does not wait for ever for a merge that hangs, and lets waiting batches go', async () => {
    const stop = new AbortController();
    const hanging = mergeUnderTest({
      minAgeMs: 0,
      maxChanges: 1,
      finishMs: 5,
      clock: () => performance.now(),
      sink: {
        ...fakeMergeSink(),
        merge: (_, signal) =>
          new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      },
    });
    let over = false;
    void hanging.run(stop.signal).then(() => (over = true));
    await hanging.handler.assigned(wholeTopic);
    const waiting = deliver(hanging, 0, records(0, 1, 2, 3, 4));
    assert.ok(await isPending(waiting));
    stop.abort();
    assert.ok(!(await isPending(waiting)));
    assert.equal((await waiting).kind, 'pause');
    await until('it to end', () => over, { timeoutMs: 2000 });
    assert.equal((await deliver(hanging, 2, records(2, 3, 4, 5))).kind, 'pause');
  });
});
