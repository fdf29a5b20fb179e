import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PartitionFetch } from '../../../src/connections/kafka/fetch.ts';
import { PartitionFlow } from '../../../src/connections/kafka/partition-flow.ts';
import type { StreamBatch } from '../../../src/ports/record-stream.ts';

const fetched = (from: bigint, next: bigint, stable = 100n): PartitionFetch => ({
  partition: 0,
  from,
  next,
  end: 100n,
  stable,
  records: [],
});

function flow(): { flow: PartitionFlow; stop: AbortController } {
  const stop = new AbortController();
  const made = new PartitionFlow(0, stop.signal);
  made.readFrom(0n);
  return { flow: made, stop };
}

async function take(from: PartitionFlow): Promise<StreamBatch> {
  const batch = await from.take();
  assert.ok(batch !== null && typeof batch === 'object');
  return batch;
}

test('one batch is read ahead, not two', async () => {
  const { flow: partition } = flow();
  assert.equal(partition.wants, 0n);
  partition.deliver(fetched(0n, 5n), false);
  assert.equal(partition.wants, null);
  await take(partition);
  assert.equal(partition.wants, 5n);
});

test('an answer to a question of before is ignored', async () => {
  const { flow: partition } = flow();
  partition.deliver(fetched(0n, 5n), false);
  const batch = await take(partition);
  assert.equal(partition.settle(batch, { kind: 'seek', offset: 3n }), 0);
  partition.deliver(fetched(5n, 9n), false);
  partition.deliverOutOfRange(5n);
  assert.equal(partition.wants, 3n);
});

test('a pause forgets what was read ahead and wants nothing meanwhile', async () => {
  const { flow: partition } = flow();
  partition.deliver(fetched(0n, 5n), false);
  const batch = await take(partition);
  partition.deliver(fetched(5n, 9n), false);
  assert.equal(partition.settle(batch, { kind: 'pause', ms: 70 }), 70);
  assert.equal(partition.wants, null);
  partition.readFrom(batch.from);
  assert.equal(partition.wants, 0n);
});

test('what is waited for comes when it is delivered, and null when the partition is lost', async () => {
  const { flow: partition, stop } = flow();
  const waiting = partition.take();
  partition.deliver(fetched(0n, 0n), false);
  partition.deliver(fetched(0n, 1n), false);
  assert.notEqual(await waiting, null);
  const more = partition.take();
  stop.abort();
  assert.equal(await more, null);
  assert.equal(partition.wants, null);
});

test('an offset that the broker no longer has is told once', async () => {
  const { flow: partition } = flow();
  partition.deliverOutOfRange(0n);
  assert.equal(await partition.take(), 'out-of-range');
  partition.readFrom(8n);
  assert.equal(partition.wants, 8n);
});

test('a handler that lost its place is asked again: what was read ahead and the batch in hand do not count', async () => {
  const { flow: partition } = flow();
  partition.deliver(fetched(0n, 5n), false);
  const batch = await take(partition);
  partition.deliver(fetched(5n, 9n), false);
  partition.reread();
  assert.equal(partition.settle(batch, { kind: 'done', next: 5n }), 0);
  assert.deepEqual([partition.wants, partition.done], [null, null]);
  partition.deliver(fetched(5n, 9n), false);
  assert.equal(await partition.take(), 'reread');
  partition.ask();
  partition.readFrom(2n);
  assert.equal(partition.wants, 2n);
  partition.deliver(fetched(2n, 4n), false);
  assert.equal((await take(partition)).from, 2n);
});

test('it is asked at once: while it waits for records, and while it rests after a pause', async () => {
  const { flow: partition, stop } = flow();
  const waiting = partition.take();
  partition.reread();
  assert.equal(await waiting, 'reread');
  partition.ask();
  const resting = partition.rest(1_000_000, 3n);
  partition.reread();
  await resting;
  assert.equal(partition.wants, null);
  partition.ask();
  const lost = partition.rest(1_000_000, 3n);
  stop.abort();
  await lost;
});

// A stretched fetch costs memory: only invisible batches call for it, not a fetch that others filled.
test('fetches grow only while nothing at all can be read though there is something', () => {
  const { flow: partition } = flow();
  partition.deliver(fetched(0n, 0n), false);
  assert.equal(partition.stretch, 1);
  partition.deliver(fetched(0n, 0n, 0n), true);
  assert.equal(partition.stretch, 1);
  for (const expected of [2, 4, 8, 16, 32, 64, 64]) {
    partition.deliver(fetched(0n, 0n), true);
    assert.equal(partition.stretch, expected);
  }
  partition.deliver(fetched(0n, 1n), false);
  assert.equal(partition.stretch, 1);
});

test('a partition whose batches are larger than a fetch takes is asked for first', () => {
  const { flow: partition } = flow();
  assert.equal(partition.starved, false);
  partition.deliver(fetched(0n, 0n), false);
  assert.equal(partition.starved, true);
  partition.deliver(fetched(0n, 5n), false);
  assert.equal(partition.starved, false, 'it had its turn');
  const { flow: atEnd } = flow();
  atEnd.deliver(fetched(0n, 0n, 0n), false);
  assert.equal(atEnd.starved, false, 'there is nothing to read');
});
