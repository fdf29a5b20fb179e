import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OperatorError, TransientError } from '../../src/errors.ts';
import type { BatchOutcome, StreamRecord } from '../../src/ports/record-stream.ts';
import { fakeMergeSink } from '../support/fake-merge-sink.ts';
import { batchOf, change, fakeDeadLetters, NOW, record, type RecordKind } from './fakes.ts';
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
  return handler.batch(
    batchOf(given, BigInt(from), BigInt(from + given.length), partition),
    keepAlive,
  );
}

/** Whether it is still not over after everything that can happen at once has happened. */
async function isPending(work: Promise<unknown>): Promise<boolean> {
  let over = false;
  void work.finally(() => (over = true));
  await new Promise((resolve) => setImmediate(resolve));
  return !over;
}

test('a batch is done once it is held; offsets that tools see follow the merge', async () => {
  const merge = mergeUnderTest();
  assert.deepEqual(await merge.handler.assigned(wholeTopic), new Map([[0, 0n]]));
  assert.deepEqual(await deliver(merge, 0, records(0, 1, 2, 1)), { kind: 'done', next: 3n });
  assert.deepEqual([merge.handler.durable?.(), merge.sink.merges.length], [new Map([[0, 0n]]), 0]);
  assert.equal(merge.lags.get(0), 3);
  await merge.settle();
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
  let tried = 0;
  const merge = mergeUnderTest({
    sink: Object.assign(Object.create(fakeMergeSink({ unstorable: 'unstorable' })) as MergeUnderTest['sink'], {}),
  });
  const { sink } = merge;
  void sink;
  void tried;
  const counted = countingMerge();
  await counted.merge.handler.assigned(wholeTopic);
  const given = Array.from({ length: 1024 }, (_, at) => record(at === 700 ? 'unstorable' : 'good', at, at));
  await deliver(counted.merge, 0, given);
  await counted.merge.settle();
  tried = counted.tried();
  assert.equal(counted.merge.deadLetters.letters.length, 1);
  assert.equal(counted.merge.sink.rows.size, 1023);
  assert.ok(tried <= 2 * 10 + 2, `${tried} merges`);
});
