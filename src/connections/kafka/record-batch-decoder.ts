import { createRequire } from 'node:module';
import { codecOf } from './codecs.ts';
import { VarintReader } from './varint.ts';

/** What kafkajs knows of a batch, and gives with each of its records. */
interface BatchContext {
  readonly firstOffset: string;
  readonly firstTimestamp: string;
  readonly partitionLeaderEpoch: number;
  readonly inTransaction: boolean;
  readonly isControlBatch: boolean;
  readonly lastOffsetDelta: number;
  readonly producerId: string;
  readonly producerEpoch: number;
  readonly firstSequence: number;
  readonly maxTimestamp: string;
  readonly timestampType: number;
  readonly magicByte: number;
}

type Headers = Readonly<Record<string, Buffer | null | readonly (Buffer | null)[]>>;

const { CREATE_TIME, LOG_APPEND_TIME } = createRequire(import.meta.url)(
  'kafkajs/src/protocol/timestampTypes.js',
) as { readonly CREATE_TIME: number; readonly LOG_APPEND_TIME: number };

// https://kafka.apache.org/documentation/#recordbatch
const MAGIC = 2;
const COMPRESSION = 7;
const APPEND_TIME = 8;
const IN_TRANSACTION = 16;
const CONTROL = 32;
const LENGTH_AT = 8;
const BODY_AT = 12;
const RECORDS_AT = 49;
const NO_HEADERS: Headers = {};

/** A record as kafkajs has it; what most readers never ask for is worked out when they do. */
class DecodedRecord {
  readonly batchContext: BatchContext;
  readonly attributes: number;
  /** The offset, and the time in milliseconds. */
  readonly at: number;
  readonly time: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Headers;

  constructor(batch: Batch, reader: VarintReader, bytes: Buffer) {
    this.batchContext = batch.context;
    this.attributes = (bytes[reader.at++]! << 24) >> 24;
    const since = reader.read();
    this.time = batch.appended ?? batch.firstTime + since;
    this.at = batch.first + reader.read();
    this.key = bytesOf(reader, bytes);
    this.value = bytesOf(reader, bytes);
    const count = reader.read();
    this.headers = count > 0 ? headersOf(reader, bytes, count) : NO_HEADERS;
  }

  get offset(): string {
    return String(this.at);
  }

  get timestamp(): string {
    return String(this.time);
  }

  get magicByte(): number {
    return this.batchContext.magicByte;
  }

  get isControlRecord(): boolean {
    return this.batchContext.isControlBatch;
  }
}

interface Batch {
  readonly context: BatchContext;
  readonly first: number;
  readonly firstTime: number;
  /** When the broker took it, where that is the time of its records. */
  readonly appended: number | null;
}

/**
 * The next record batch of a fetch. kafkajs makes two dozen objects of every record, which costs more than the
 * rest of reading it.
 */
export async function decodeBatch(source: {
  readonly buffer: Buffer;
  offset: number;
}): Promise<BatchContext & { readonly records: readonly DecodedRecord[] }> {
  const { buffer, offset } = source;
  const length = buffer.readInt32BE(offset + LENGTH_AT);
  const end = offset + BODY_AT + length;
  if (length < RECORDS_AT) throw cutOff();
  source.offset = end;
  if (buffer.length < end) throw partial();
  const batch = headOf(buffer, offset);
  const compression = buffer.readInt16BE(offset + 21) & COMPRESSION;
  const count = buffer.readInt32BE(offset + 57);
  const packed = buffer.subarray(offset + BODY_AT + RECORDS_AT, end);
  const bytes = compression === 0 || count <= 0 ? packed : await codecOf(compression).decompress(packed);
  const records: DecodedRecord[] = [];
  const reader = new VarintReader(bytes, 0);
  for (let index = 0; index < count; index++) {
    const size = reader.read();
    const next = reader.at + size;
    if (size <= 0 || next > bytes.length) throw cutOff();
    records.push(new DecodedRecord(batch, reader, bytes));
    reader.at = next;
  }
  return { ...batch.context, records };
}

/** What is stored is damaged, or was packed in a way that nobody unpacks whole: not to be read past. */
function cutOff(): Error {
  return new Error('A record batch ends before its last record.');
}

/** The fetch ends within the batch: kafkajs knows it by this name, and passes over it. */
function partial(): Error {
  return Object.assign(new Error('The fetch ends within a batch.'), { name: 'KafkaJSPartialMessageError' });
}

function headOf(buffer: Buffer, offset: number): Batch {
  const first = buffer.readBigInt64BE(offset);
  const attributes = buffer.readInt16BE(offset + 21);
  const firstTime = buffer.readBigInt64BE(offset + 27);
  const maxTime = buffer.readBigInt64BE(offset + 35);
  const byBroker = (attributes & APPEND_TIME) !== 0;
  return {
    first: Number(first),
    firstTime: Number(firstTime),
    appended: byBroker ? Number(maxTime) : null,
    context: {
      firstOffset: String(first),
      firstTimestamp: String(firstTime),
      partitionLeaderEpoch: buffer.readInt32BE(offset + 12),
      inTransaction: (attributes & IN_TRANSACTION) !== 0,
      isControlBatch: (attributes & CONTROL) !== 0,
      lastOffsetDelta: buffer.readInt32BE(offset + 23),
      producerId: String(buffer.readBigInt64BE(offset + 43)),
      producerEpoch: buffer.readInt16BE(offset + 51),
      firstSequence: buffer.readInt32BE(offset + 53),
      maxTimestamp: String(maxTime),
      timestampType: byBroker ? LOG_APPEND_TIME : CREATE_TIME,
      magicByte: MAGIC,
    },
  };
}

function bytesOf(reader: VarintReader, bytes: Buffer): Buffer | null {
  const length = reader.read();
  if (length < 0) return null;
  const start = reader.at;
  reader.at += length;
  return bytes.subarray(start, start + length);
}

/** Several of one name are a list. */
function headersOf(reader: VarintReader, bytes: Buffer, count: number): Headers {
  const headers: Record<string, Buffer | null | readonly (Buffer | null)[]> = {};
  for (let left = count; left > 0; left--) {
    const name = String(bytesOf(reader, bytes));
    const value = bytesOf(reader, bytes);
    const known = headers[name];
    if (known === undefined) headers[name] = value;
    else headers[name] = isList(known) ? [...known, value] : [known, value];
  }
  return headers;
}

const isList = (value: Headers[string]): value is readonly (Buffer | null)[] => Array.isArray(value);
