import { BugError, PoisonError } from '../errors.ts';
import { columnReader, columnWriter, nullable, skipper, type Read } from './avro-columns.ts';
import { AvroReader, repeatedText, undecodable } from './avro-reader.ts';
import { fieldNames, OPS } from './avro-schema.ts';
import { readWriterSchema, type Written } from './avro-writer-schema.ts';
import { AvroWriter } from './avro-writer.ts';
import type { Change, Micros, Op, Row } from './change.ts';
import { keyOf } from './key.ts';
import type { TableMapping } from './table.ts';

export { changeSchema } from './avro-schema.ts';

/** Confluent's wire format: a zero byte, the schema id (four bytes, big-endian), the Avro body. */
const MAGIC = 0;
const HEADER_BYTES = 5;

export interface ChangeEncoder {
  /** The record value of a change. The buffer stays valid; it is a view of a larger one. */
  encode(change: Change, emittedAt: Micros): Buffer;
}

export interface ChangeDecoder {
  /**
   * The change of a record value (header included) under its record key. PoisonError: UNDECODABLE,
   * VALUE_INVALID, VALUE_OUT_OF_RANGE, KEY_MISSING or KEY_MISMATCH.
   */
  decode(value: Uint8Array, key: string): Change;
}

export interface DecoderOptions {
  /** Decodes a change also under a key that is not its row's, for people to look at. */
  readonly anyKey?: boolean;
}

/** Encodes changes with `changeSchema(mapping)`, registered as `schemaId`. */
export function createChangeEncoder(mapping: TableMapping, schemaId: number): ChangeEncoder {
  const writer = new AvroWriter();
  const columns = mapping.columns.map(columnWriter);

  function writeRow(row: Row | null): void {
    if (row === null) {
      writer.byte(0);
      return;
    }
    if (row.length !== columns.length) {
      throw new BugError({
        code: 'ROW_WIDTH',
        message: `table ${mapping.name}: a row of ${row.length} values for ${columns.length} columns`,
      });
    }
    writer.byte(2);
    for (let i = 0; i < columns.length; i++) columns[i]?.(writer, row[i] ?? null);
  }

  return {
    encode(change, emittedAt) {
      writer.begin();
      writer.byte(MAGIC);
      writer.uint32(schemaId);
      writer.int(OPS.indexOf(change.op));
      writeRow(change.before);
      writeRow(change.after);
      writer.text(change.origin);
      writer.text(change.table);
      writer.long(change.position);
      writer.long(change.ts);
      if (change.tx === null) writer.byte(0);
      else {
        writer.byte(2);
        writer.long(change.tx);
      }
      if (change.load === null) writer.byte(0);
      else {
        writer.byte(2);
        writer.text(change.load);
      }
      writer.long(emittedAt);
      return writer.finish();
    },
  };
}

/**
 * Decodes records written with `writerSchema` into rows of the mapping: a column that the writer did not
 * have is null, one that the mapping has not is passed over. Throws a PoisonError UNDECODABLE where that
 * schema is not one of this table's changes.
 */
export function createChangeDecoder(
  mapping: TableMapping,
  writerSchema: object,
  { anyKey = false }: DecoderOptions = {},
): ChangeDecoder {
  const reader = new AvroReader();
  const readBody = changeReader(mapping, readWriterSchema(writerSchema));
  const keyText = keyOf(mapping);

  return {
    decode(value, key) {
      try {
        schemaIdOf(value);
        reader.begin(value, HEADER_BYTES);
        const change = readBody(reader, key);
        reader.end();
        const row = rowOf(change);
        if (!anyKey && row !== null && keyText(row) !== key) throw mismatch(keyText(row));
        return change;
      } catch (error) {
        if (!(error instanceof PoisonError)) throw error;
        throw new PoisonError({
          code: error.code,
          message: `table ${mapping.name}, key ${JSON.stringify(key.slice(0, 80))}: ${error.message}`,
          ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
        });
      }
    },
  };
}

/** The schema id in a record value's header; PoisonError NOT_CONFLUENT where it has none. */
export function schemaIdOf(value: Uint8Array): number {
  if (value.length < HEADER_BYTES || value[0] !== MAGIC) {
    throw new PoisonError({
      code: 'NOT_CONFLUENT',
      message: `a value of ${value.length} bytes without the header of a schema registry record`,
      remedy: 'Find what else writes to this topic: only Deltaferry should.',
    });
  }
  return ((value[1]! << 24) | (value[2]! << 16) | (value[3]! << 8) | value[4]!) >>> 0;
}

type Draft = { -readonly [Field in keyof Change]: Change[Field] };
type Step = (reader: AvroReader, draft: Draft) => void;

const REQUIRED = ['op', 'origin', 'table', 'position', 'ts'];

function changeReader(mapping: TableMapping, written: Written): (reader: AvroReader, key: string) => Change {
  if (written.kind !== 'record') throw undecodable('its schema is not a record');
  for (const name of REQUIRED) {
    if (!written.fields.some((field) => field.name === name)) {
      throw undecodable(`its schema has no field ${name}`);
    }
  }
  const steps = written.fields.map((field) => fieldStep(mapping, field.name, field.type));
  return (reader, key) => {
    const draft: Draft = {
      op: 'insert',
      key,
      before: null,
      after: null,
      origin: '',
      table: '',
      position: 0,
      ts: 0,
      tx: null,
      load: null,
    };
    for (const step of steps) step(reader, draft);
    return draft;
  };
}

function fieldStep(mapping: TableMapping, name: string, written: Written): Step {
  switch (name) {
    case 'op': {
      const read = opReader(written);
      return (reader, draft) => (draft.op = read(reader));
    }
    case 'before':
    case 'after': {
      const read = nullable(written, (type) => rowReader(mapping, type));
      return name === 'before'
        ? (reader, draft) => (draft.before = read(reader))
        : (reader, draft) => (draft.after = read(reader));
    }
    case 'origin': {
      const read = nameReader(name, written);
      return (reader, draft) => (draft.origin = read(reader));
    }
    case 'table': {
      const read = nameReader(name, written);
      return (reader, draft) => (draft.table = read(reader));
    }
    case 'position': {
      const read = longReader(name, written, null);
      return (reader, draft) => (draft.position = read(reader));
    }
    case 'ts': {
      const read = longReader(name, written, 'timestamp-micros');
      return (reader, draft) => (draft.ts = read(reader));
    }
    case 'tx': {
      const read = nullable(written, (type) => longReader(name, type, null));
      return (reader, draft) => (draft.tx = read(reader));
    }
    case 'load': {
      const read = nullable(written, (type) => nameReader(name, type));
      return (reader, draft) => (draft.load = read(reader));
    }
    default:
      return skipper(written);
  }
}

function rowReader(mapping: TableMapping, written: Written): Read<Row> {
  if (written.kind !== 'record') throw undecodable(`its rows are written as ${written.kind}`);
  const names = fieldNames(mapping);
  const blank = names.map(() => null) as Row;
  const steps = written.fields.map(({ name, type }) => {
    const index = names.indexOf(name);
    const column = mapping.columns[index];
    return { index, read: column === undefined ? skipper(type) : columnReader(column, type) };
  });
  return (reader) => {
    const row = blank.slice();
    for (const { index, read } of steps) {
      const value = read(reader);
      if (index >= 0) row[index] = value ?? null;
    }
    return row;
  };
}

function opReader(written: Written): Read<Op> {
  if (written.kind !== 'enum') throw undecodable('its schema has no enum op');
  const ops = written.symbols.map((symbol) => OPS.find((op) => op === symbol));
  return (reader) => {
    const index = reader.index(ops.length);
    const op = ops[index];
    if (op === undefined) throw undecodable(`op ${written.symbols[index]} is not known here`);
    return op;
  };
}

function nameReader(name: string, written: Written): Read<string> {
  if (written.kind !== 'string') throw undecodable(`its field ${name} is written as ${written.kind}`);
  const last = repeatedText();
  return (reader) => reader.repeatedText(last);
}

function longReader(name: string, written: Written, logicalType: string | null): Read<number | bigint> {
  if (written.kind !== 'long' || written.logicalType !== logicalType) {
    throw undecodable(`its field ${name} is written as ${written.kind}`);
  }
  return (reader) => reader.long();
}

/** The row that carries the change's key. */
function rowOf(change: Change): Row | null {
  if (change.op === 'delete' ? change.after !== null : change.after === null) {
    throw undecodable(`op ${change.op} ${change.after === null ? 'without' : 'with'} a row after it`);
  }
  return change.after ?? change.before;
}

function mismatch(key: string): PoisonError {
  return new PoisonError({
    code: 'KEY_MISMATCH',
    message: `its row has the key ${JSON.stringify(key.slice(0, 80))}`,
    remedy: 'Find what else writes to this topic, or whether the key columns were changed.',
  });
}
