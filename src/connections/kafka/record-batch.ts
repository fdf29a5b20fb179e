import { createRequire } from 'node:module';
import type { IHeaders, Message } from 'kafkajs';
import { codecOf } from './codecs.ts';
import { AT, ATTRIBUTES, BEFORE_LENGTH_BYTES, MAGIC } from './record-batch-layout.ts';
import { varint, varintSize } from './varint.ts';

/** What a batch says of its producer, as kafkajs has it: numbers of 64 bits have a type of its own. */
export interface BatchOrigin {
  readonly transactionalId: string | null;
  readonly producerId: number | { toString(): string };
  readonly producerEpoch: number;
  readonly firstSequence: number;
}

const crc32c = createRequire(import.meta.url)('kafkajs/src/protocol/recordBatch/crc32C/index.js') as (
  buffer: Buffer,
) => number;

/** Attributes and the varints of a record: its length, times and offsets, and the lengths of key, value and headers. */
const RECORD_BYTES = 40;
const HEADER_BYTES = 10;

/** The messages as a record batch of version 2, with offsets from 0 on. */
export async function encodeBatch(
  messages: readonly Message[],
  origin: BatchOrigin,
  compression: number,
  now: number,
): Promise<Buffer> {
  const given = messages.flatMap(({ timestamp }) => (timestamp === undefined ? [] : [timestamp])).sort();
  const first = Number(given[0] ?? now);
  const records = writeRecords(messages, first, now);
  const packed = compression === 0 ? records : await codecOf(compression).compress({ buffer: records });
  const batch = Buffer.allocUnsafe(AT.records + packed.length);
  const transactional = origin.transactionalId === null ? 0 : ATTRIBUTES.inTransaction;
  batch.writeBigInt64BE(0n, AT.firstOffset);
  batch.writeInt32BE(batch.length - BEFORE_LENGTH_BYTES, AT.length);
  batch.writeInt32BE(0, AT.leaderEpoch);
  batch.writeInt8(MAGIC, AT.magic);
  batch.writeInt16BE(compression | transactional, AT.attributes);
  batch.writeInt32BE(messages.length - 1, AT.lastOffsetDelta);
  batch.writeBigInt64BE(BigInt(first), AT.firstTimestamp);
  batch.writeBigInt64BE(BigInt(given.at(-1) ?? now), AT.maxTimestamp);
  batch.writeBigInt64BE(BigInt(origin.producerId.toString()), AT.producerId);
  batch.writeInt16BE(origin.producerEpoch, AT.producerEpoch);
  batch.writeInt32BE(origin.firstSequence, AT.firstSequence);
  batch.writeInt32BE(messages.length, AT.count);
  batch.set(packed, AT.records);
  batch.writeUInt32BE(crc32c(batch.subarray(AT.attributes)), AT.checksum);
  return batch;
}

function writeRecords(messages: readonly Message[], first: number, now: number): Buffer {
  let most = 0;
  for (const { key, value, headers } of messages) {
    most += RECORD_BYTES + sizeOf(key) + sizeOf(value);
    if (headers !== undefined)
      for (const [name, each] of entriesOf(headers)) most += HEADER_BYTES + sizeOf(name) + sizeOf(each);
  }
  const into = Buffer.allocUnsafe(most);
  let at = 0;
  for (let index = 0; index < messages.length; index++) {
    const { key, value, headers, timestamp } = messages[index]!;
    const since = Number(timestamp ?? now) - first;
    const entries = headers === undefined ? [] : entriesOf(headers);
    let size = 1 + varintSize(since) + varintSize(index) + sizeWithLength(key) + sizeWithLength(value);
    size += varintSize(entries.length);
    for (const [name, each] of entries) size += sizeWithLength(name) + sizeWithLength(each);
    at = varint(into, at, size);
    // No attributes of a record are in use.
    into[at++] = 0;
    at = varint(into, at, since);
    at = varint(into, at, index);
    at = withLength(into, at, key);
    at = withLength(into, at, value);
    at = varint(into, at, entries.length);
    for (const [name, each] of entries) at = withLength(into, withLength(into, at, name), each);
  }
  return into.subarray(0, at);
}

type Bytes = Buffer | string | null | undefined;

function entriesOf(headers: IHeaders): (readonly [name: string, value: Bytes])[] {
  return Object.entries(headers).flatMap(([name, value]) =>
    Array.isArray(value) ? value.map((each) => [name, each] as const) : [[name, value] as const],
  );
}

function sizeOf(bytes: Bytes): number {
  if (bytes === null || bytes === undefined) return 0;
  return typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length;
}

function sizeWithLength(bytes: Bytes): number {
  if (bytes === null || bytes === undefined) return 1;
  const size = sizeOf(bytes);
  return varintSize(size) + size;
}

function withLength(into: Buffer, at: number, bytes: Bytes): number {
  if (bytes === null || bytes === undefined) return varint(into, at, -1);
  const size = sizeOf(bytes);
  const start = varint(into, at, size);
  if (typeof bytes === 'string') into.write(bytes, start);
  else into.set(bytes, start);
  return start + size;
}
