import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import type { IHeaders, Message } from 'kafkajs';
import { registerCodecs } from '../../../src/connections/kafka/codecs.ts';
import { produceRequest, type ProduceRequest } from '../../../src/connections/kafka/produce-request.ts';
import { encodeBatch } from '../../../src/connections/kafka/record-batch.ts';
import { decodeBatch } from '../../../src/connections/kafka/record-batch-decoder.ts';
import { varint, varintSize } from '../../../src/connections/kafka/varint.ts';
import { seededRandom } from '../../support/change-generator.ts';

const load = createRequire(import.meta.url);
const original = load('kafkajs/src/protocol/requests/produce/v3/request.js') as typeof produceRequest;
const Long = load('kafkajs/src/utils/long.js') as { fromValue(value: string): { toString(): string } };
const Encoder = load('kafkajs/src/protocol/encoder.js') as {
  new (): { writeVarLong(value: number): { readonly buffer: Buffer } };
  sizeOfVarLong(value: number): number;
};
const Decoder = load('kafkajs/src/protocol/decoder.js') as new (buffer: Buffer) => {
  buffer: Buffer;
  offset: number;
};
const originalDecoder = load('kafkajs/src/protocol/recordBatch/v0/decoder.js') as (
  source: object,
) => Promise<{ readonly records: readonly object[] }>;
const LZ4 = 3;
const GZIP = 1;

/** The same instant for both: records without a time of their own get that of the request. */
async function bothOf(request: ProduceRequest): Promise<[ours: Buffer, theirs: Buffer]> {
  const { now } = Date;
  Date.now = () => 1_795_000_000_000;
  try {
    return [(await produceRequest(request).encode()).buffer, (await original(request).encode()).buffer];
  } finally {
    Date.now = now;
  }
}

function requests(random: () => number) {
  const below = (limit: number): number => Math.floor(random() * limit);
  const bytes = (most: number): Buffer => Buffer.from(Array.from({ length: below(most) }, () => below(256)));
  const text = (): string => 'kö𝄞'.repeat(below(4)) + String(below(1000));
  const either = (): Buffer | string => (random() < 0.5 ? bytes(300) : text());
  const message = (): Message => {
    const headers: IHeaders = {};
    for (let left = below(4); left > 0; left--)
      headers[text()] = random() < 0.3 ? [bytes(20), text()] : either();
    return {
      key: random() < 0.2 ? null : either(),
      value: random() < 0.2 ? null : random() < 0.05 ? Buffer.alloc(20_000, 7) : either(),
      ...(random() < 0.5 ? { headers } : {}),
    };
  };
  // With times: all of them, as kafkajs does it right for those only.
  const batch = (): Message[] => {
    const timed = random() < 0.3;
    return Array.from({ length: 1 + below(random() < 0.1 ? 400 : 20) }, () => ({
      ...message(),
      ...(timed ? { timestamp: String(1_700_000_000_000 + below(90 * 86_400_000)) } : {}),
    }));
  };
  return (compression: number): ProduceRequest => ({
    acks: -1,
    timeout: 30_000,
    compression,
    ...(random() < 0.5
      ? {}
      : {
          transactionalId: text(),
          producerId: Long.fromValue(String(2 ** 40 + below(9))),
          producerEpoch: below(9),
        }),
    topicData: Array.from({ length: 1 + below(3) }, () => ({
      topic: `topic-${below(100)}`,
      partitions: Array.from({ length: 1 + below(3) }, (_, partition) => ({
        partition,
        firstSequence: below(2 ** 31),
        messages: batch(),
      })),
    })),
  });
}

/** As kafkajs's own decoder has it: a plain object. */
const plain = (record: object) =>
  Object.fromEntries(
    ['magicByte', 'attributes', 'timestamp', 'offset', 'key', 'value', 'headers', 'isControlRecord'].map(
      (name) => [name, (record as Record<string, unknown>)[name]],
    ),
  );

describe('a record batch', () => {
  const seed = Number(process.env['BATCH_SEED'] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const next = requests(random);
  const hint = (run: number): string => `seed ${seed} (set BATCH_SEED), batch ${run}`;

  async function batch(run: number): Promise<Buffer> {
    const { topicData, transactionalId = null, producerId = -1, producerEpoch = 0 } = next(0);
    const { messages, firstSequence = 0 } = topicData[0]!.partitions[0]!;
    const origin = { transactionalId, producerId, producerEpoch, firstSequence };
    const encoded = await encodeBatch(messages, origin, [0, LZ4, GZIP][run % 3]!, 1_795_000_000_000);
    // As the broker stores it: with the offsets it has given, and now and then with its own time or as a mark of its own.
    encoded.writeBigInt64BE(BigInt(Math.floor(random() * 2 ** 45)));
    const attributes = encoded.readInt16BE(21);
    encoded.writeInt16BE(attributes | (random() < 0.2 ? 8 : 0) | (random() < 0.2 ? 32 : 0), 21);
    return encoded;
  }

  it('is decoded as kafkajs would', async () => {
    registerCodecs();
    for (let run = 0; run < 300; run++) {
      const encoded = await batch(run);
      const behind = Buffer.concat([Buffer.alloc(5), encoded, Buffer.alloc(60)]);
      const [one, other] = [new Decoder(behind), new Decoder(behind)];
      one.offset = other.offset = 5;
      const { records, ...ours } = await decodeBatch(one);
      const { records: theirRecords, ...theirs } = await originalDecoder(other);
      assert.deepEqual(records.map(plain), theirRecords.map(plain), hint(run));
      const { magicByte, ...context } = ours;
      assert.equal(magicByte, 2);
      assert.deepEqual(context, theirs, hint(run));
      assert.equal(one.offset, other.offset, hint(run));
      for (const record of records) {
        assert.deepEqual(
          [String(record.at), String(record.time)],
          [record.offset, record.timestamp],
          hint(run),
        );
        assert.deepEqual(record.batchContext, ours, hint(run));
      }
    }
  });

  it('that the fetch has cut off is no batch, and one that compaction has emptied has no records', async () => {
    const encoded = await batch(0);
    for (const length of [61, encoded.length - 1])
      await assert.rejects(decodeBatch(new Decoder(encoded.subarray(0, length))), {
        name: 'KafkaJSPartialMessageError',
      });
    const empty = Buffer.from(encoded.subarray(0, 61));
    empty.writeInt32BE(61 - 12, 8);
    empty.writeInt32BE(0, 57);
    assert.deepEqual((await decodeBatch(new Decoder(empty))).records, []);
  });

  it('is decoded as long as not much has come of its partition in this fetch, one in any case', async () => {
    registerCodecs();
    const origin = { transactionalId: null, producerId: -1, producerEpoch: 0, firstSequence: 0 };
    const value = Buffer.alloc(1024 * 1024);
    for (const [records, whole] of [
      [1, 3],
      [2, 2],
      [5, 1],
    ] as const) {
      const messages = Array.from({ length: records }, () => ({ key: 'key', value }));
      const encoded = await encodeBatch(messages, origin, LZ4, 0);
      const source = new Decoder(Buffer.concat(Array.from({ length: 10 }, () => encoded)));
      for (let nth = 0; nth < whole; nth++) assert.equal((await decodeBatch(source)).records.length, records);
      await assert.rejects(decodeBatch(source), { name: 'KafkaJSPartialMessageError' });
      assert.equal((await decodeBatch(new Decoder(encoded))).records.length, records, 'of another partition');
    }
  });

  it('that ends before its last record is an error: nothing is made up', async () => {
    const messages = [1, 2, 3, 4].map((n) => ({ key: `key ${n}`, value: `value ${n}` }));
    const origin = { transactionalId: null, producerId: -1, producerEpoch: 0, firstSequence: 0 };
    const whole = await encodeBatch(messages, origin, 0, 0);
    const tooMany = Buffer.from(whole);
    tooMany.writeInt32BE(6, 57);
    const half = Buffer.from(whole.subarray(0, whole.length - 9));
    half.writeInt32BE(half.length - 12, 8);
    const none = Buffer.from(whole);
    none.writeInt32BE(-12, 8);
    for (const damaged of [tooMany, half, none])
      await assert.rejects(decodeBatch(new Decoder(damaged)), /ends before its last record/);
  });
});

describe('a produce request', () => {
  const seed = Number(process.env['PRODUCE_SEED'] ?? Date.now() % 1_000_000);

  it('is byte for byte what kafkajs would send', async () => {
    registerCodecs();
    const next = requests(seededRandom(seed));
    for (let run = 0; run < 300; run++) {
      const [ours, theirs] = await bothOf(next([0, LZ4, GZIP][run % 3]!));
      assert.ok(ours.equals(theirs), `seed ${seed} (set PRODUCE_SEED), request ${run}`);
    }
  });

  it('says of itself what kafkajs would', () => {
    const request = requests(seededRandom(seed))(0);
    const { encode: _ours, expectResponse, ...ours } = produceRequest(request);
    const { encode: _theirs, expectResponse: theirAnswer, ...theirs } = original(request);
    assert.deepEqual(ours, theirs);
    assert.equal(expectResponse(), theirAnswer());
    assert.equal(produceRequest({ ...request, acks: 0 }).expectResponse(), false);
  });

  it('has numbers of any size as kafkajs writes them', () => {
    const into = Buffer.alloc(10);
    const edges = Array.from({ length: 51 }, (_, bit) => 2 ** bit).flatMap((n) => [n - 1, n, -n, -n - 1]);
    for (const value of [0, ...edges]) {
      const end = varint(into, 0, value);
      assert.deepEqual(into.subarray(0, end), new Encoder().writeVarLong(value).buffer, String(value));
      assert.equal(varintSize(value), end, String(value));
    }
  });
});
