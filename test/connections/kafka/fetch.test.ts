import assert from 'node:assert/strict';
import { test } from 'node:test';
import { committedPart, type RawMessage } from '../../../src/connections/kafka/fetch.ts';

const COMMIT = Buffer.from([0, 0, 0, 1]);
const ABORT = Buffer.from([0, 0, 0, 0]);

const data = (offset: number, producerId: string, more: Partial<RawMessage> = {}): RawMessage => ({
  offset: String(offset),
  timestamp: '5',
  key: Buffer.from('k'),
  value: Buffer.from(String(offset)),
  isControlRecord: false,
  batchContext: {
    firstOffset: String(offset),
    lastOffsetDelta: 0,
    producerId,
    inTransaction: producerId !== '-1',
  },
  ...more,
});
const marker = (offset: number, producerId: string, key: Buffer): RawMessage =>
  data(offset, producerId, { key, value: null, isControlRecord: true });

function read(
  from: number,
  messages: RawMessage[],
  aborted: [producerId: string, firstOffset: number][] = [],
): { offsets: number[]; next: number } {
  const part = committedPart(
    {
      partition: 0,
      highWatermark: '100',
      lastStableOffset: '90',
      abortedTransactions: aborted.map(([producerId, first]) => ({ producerId, firstOffset: String(first) })),
      messages,
    },
    BigInt(from),
  );
  assert.deepEqual([part.end, part.stable, part.from], [100n, 90n, BigInt(from)]);
  return { offsets: part.records.map(({ offset }) => Number(offset)), next: Number(part.next) };
}

test('records of committed transactions and plain ones are read, control records are not', () => {
  const messages = [data(0, '7'), data(1, '-1'), marker(2, '7', COMMIT)];
  assert.deepEqual(read(0, messages), { offsets: [0, 1], next: 3 });
});

test('aborted records are dropped, and those of the same producer after its abort are not', () => {
  const messages = [data(0, '7'), data(1, '8'), marker(2, '7', ABORT), data(3, '7'), marker(4, '7', COMMIT)];
  assert.deepEqual(read(0, messages, [['7', 0]]), { offsets: [1, 3], next: 5 });
});

// kafkajs takes one entry of the list per record: the record at 5 would be handed out.
test('a fetch that begins inside two aborted transactions hands out neither', () => {
  const messages = [data(5, '8'), data(6, '7'), data(7, '9'), marker(8, '7', ABORT), marker(9, '8', ABORT)];
  const aborted: [string, number][] = [
    ['7', 1],
    ['8', 3],
  ];
  assert.deepEqual(read(5, messages, aborted), { offsets: [7], next: 10 });
  assert.deepEqual(read(5, messages, aborted.toReversed()), { offsets: [7], next: 10 });
});

test('a key that looks like an abort marker is data', () => {
  const messages = [data(0, '7', { key: ABORT }), data(1, '7'), marker(2, '7', ABORT)];
  assert.deepEqual(read(0, messages, [['7', 0]]), { offsets: [], next: 3 });
  assert.deepEqual(read(0, [data(0, '-1', { key: ABORT })]), { offsets: [0], next: 1 });
});

test('records before the offset asked for are left out, though their batch was sent whole', () => {
  assert.deepEqual(read(2, [data(1, '-1'), data(2, '-1'), data(3, '-1')]), { offsets: [2, 3], next: 4 });
});

test('the next offset follows the batch, also where compaction removed its last records', () => {
  const compacted = data(4, '-1', {
    batchContext: { firstOffset: '3', lastOffsetDelta: 6, producerId: '-1', inTransaction: false },
  });
  assert.deepEqual(read(3, [compacted]), { offsets: [4], next: 10 });
  assert.deepEqual(read(3, []), { offsets: [], next: 3 });
});

test('without transactions in the format (before Kafka 0.11) everything is read', () => {
  const { batchContext: _, ...old } = data(3, '-1');
  assert.deepEqual(read(0, [old]), { offsets: [3], next: 4 });
});
