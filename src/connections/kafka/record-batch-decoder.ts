import { codecOf } from './codecs.ts';
import { MOST_DECODED } from './fetch-room.ts';
import { AT, ATTRIBUTES, BEFORE_LENGTH_BYTES, MAGIC } from './record-batch-layout.ts';
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

/** Whose time a record has. */
const CREATE_TIME = 0;
const LOG_APPEND_TIME = 1;
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

/** What a fetch gives of one partition. */
interface Source {
  readonly buffer: Buffer;
  offset: number;
}

/** Bytes that came of it so far. */
const decoded = new WeakMap<Source, number>();

/**
 * The next record batch of a fetch. kafkajs makes two dozen objects of every record, which costs more than the
 * rest of reading it. Where much has come of a fetch already it ends here: the rest is fetched again.
 */
export async function decodeBatch(
  source: Source,
): Promise<BatchContext & { readonly records: readonly DecodedRecord[] }> {
  const { buffer, offset } = source;
  const length = BEFORE_LENGTH_BYTES + buffer.readInt32BE(offset + AT.length);
  const end = offset + length;
  if (length < AT.records) throw cutOff();
  source.offset = end;
  const before = decoded.get(source) ?? 0;
  if (buffer.length < end || before >= MOST_DECODED) throw partial();
  const batch = headOf(buffer, offset);
  const compression = buffer.readInt16BE(offset + AT.attributes) & ATTRIBUTES.compression;
  const count = buffer.readInt32BE(offset + AT.count);
  const packed = buffer.subarray(offset + AT.records, end);
  const bytes = compression === 0 || count <= 0 ? packed : await codecOf(compression).decompress(packed);
  decoded.set(source, before + bytes.length);
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

/** The fetch ends within the batch, or before it: kafkajs knows it by this name, and passes over the rest. */
function partial(): Error {
  return Object.assign(new Error('The fetch ends here.'), { name: 'KafkaJSPartialMessageError' });
}

function headOf(buffer: Buffer, offset: number): Batch {
  const first = buffer.readBigInt64BE(offset + AT.firstOffset);
  const attributes = buffer.readInt16BE(offset + AT.attributes);
  const firstTime = buffer.readBigInt64BE(offset + AT.firstTimestamp);
  const maxTime = buffer.readBigInt64BE(offset + AT.maxTimestamp);
  const byBroker = (attributes & ATTRIBUTES.appendTime) !== 0;
  return {
    first: Number(first),
    firstTime: Number(firstTime),
    appended: byBroker ? Number(maxTime) : null,
    context: {
      firstOffset: String(first),
      firstTimestamp: String(firstTime),
      partitionLeaderEpoch: buffer.readInt32BE(offset + AT.leaderEpoch),
      inTransaction: (attributes & ATTRIBUTES.inTransaction) !== 0,
      isControlBatch: (attributes & ATTRIBUTES.control) !== 0,
      lastOffsetDelta: buffer.readInt32BE(offset + AT.lastOffsetDelta),
      producerId: String(buffer.readBigInt64BE(offset + AT.producerId)),
      producerEpoch: buffer.readInt16BE(offset + AT.producerEpoch),
      firstSequence: buffer.readInt32BE(offset + AT.firstSequence),
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
