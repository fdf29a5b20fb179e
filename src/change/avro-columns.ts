import { undecodable, type AvroReader } from './avro-reader.ts';
import type { PrimitiveName, Written } from './avro-writer-schema.ts';
import type { AvroWriter } from './avro-writer.ts';
import type { Value } from './change.ts';
import { decimalText } from './decimal.ts';
import type { Column } from './table.ts';
import { avroTypeOf, columnTypeText, parserFor, type AvroType, type ExactValue } from './types.ts';

export type WriteValue = (writer: AvroWriter, value: Value) => void;
export type Read<T> = (reader: AvroReader) => T;

/** Writes a column's values as `["null", type]`. */
export function columnWriter(column: Column): WriteValue {
  const write = valueWriter(avroTypeOf(column.type));
  return (writer, value) => {
    if (value === null) writer.byte(0);
    else {
      writer.byte(2); // Branch 1, zigzag.
      write(writer, value);
    }
  };
}

function valueWriter(avro: AvroType): WriteValue {
  if (typeof avro === 'object' && 'scale' in avro) {
    return (writer, value) => writer.decimal(value, avro.scale);
  }
  switch (primitiveOf(avro)) {
    case 'boolean':
      return (writer, value) => writer.boolean(value);
    case 'int':
      return (writer, value) => writer.int(value);
    case 'long':
      return (writer, value) => writer.long(value);
    case 'float':
      return (writer, value) => writer.float(value);
    case 'double':
      return (writer, value) => writer.double(value);
    case 'string':
      return (writer, value) => writer.text(value);
    case 'bytes':
      return (writer, value) => writer.bytes(value);
  }
}

/**
 * Reads a column as it was written, into the form and within the limits of the mapped type: a value written
 * under wider limits is a PoisonError VALUE_OUT_OF_RANGE here, a schema that does not resolve UNDECODABLE.
 */
export function columnReader(column: Column, written: Written): Read<Value> {
  return nullable(written, (type) => valueReader(column, type));
}

/** Reads a union of null and one more type, in any order, or that type alone. */
export function nullable<T>(written: Written, read: (type: Written) => Read<T>): Read<T | null> {
  if (written.kind !== 'union') return written.kind === 'null' ? () => null : read(written);
  const branches = written.branches.map((type) => (type.kind === 'null' ? () => null : read(type)));
  return (reader) => (branches[reader.index(branches.length)] as Read<T | null>)(reader);
}

function valueReader(column: Column, written: Written): Read<ExactValue> {
  const wanted = avroTypeOf(column.type);
  if (!resolves(written, wanted)) {
    throw undecodable(
      `column ${column.name}: ${columnTypeText(column.type)} cannot be read from ${shown(written)}`,
    );
  }
  const parse = parserFor(column.type, column.name);
  if (typeof wanted === 'object' && 'scale' in wanted) {
    const { scale } = written;
    return (reader) => parse(decimalText(reader.decimal(), scale));
  }
  switch (column.type.name) {
    case 'smallint':
    case 'date':
      return (reader) => parse(String(reader.int()));
    case 'integer':
      return (reader) => reader.int();
    case 'bigint':
      return (reader) => reader.long();
    case 'timestamp':
    case 'timestamptz':
      return (reader) => {
        const micros = reader.long();
        // Every double-safe number lies inside the years that both sides hold.
        return typeof micros === 'number' ? micros : parse(String(micros));
      };
    case 'boolean':
      return (reader) => reader.boolean();
    case 'real':
      return (reader) => reader.float();
    case 'double precision':
      return written.kind === 'float' ? (reader) => reader.float() : (reader) => reader.double();
    case 'bytea':
      return (reader) => reader.bytes();
    case 'text':
    case 'varchar':
    case 'uuid':
    case 'jsonb':
    case 'enum':
    case 'numeric':
      return (reader) => parse(reader.text());
  }
}

type WrittenPrimitive = Extract<Written, { logicalType: string | null }>;

/** Avro's own promotions that lose nothing; between texts of different kinds the mapped type decides. */
function resolves(written: Written, wanted: AvroType): written is WrittenPrimitive {
  if (!('logicalType' in written)) return false;
  const primitive = primitiveOf(wanted);
  if (written.kind === 'string' && primitive === 'string') return true;
  const logicalType = typeof wanted === 'object' ? wanted.logicalType : null;
  if (written.logicalType !== logicalType) return false;
  return (
    written.kind === primitive ||
    (logicalType === null && written.kind === 'int' && primitive === 'long') ||
    (written.kind === 'float' && primitive === 'double')
  );
}

function primitiveOf(avro: AvroType): Exclude<PrimitiveName, 'null'> {
  return typeof avro === 'string' ? avro : avro.type;
}

function shown(written: Written): string {
  return 'logicalType' in written && written.logicalType !== null
    ? `${written.kind} ${written.logicalType}`
    : written.kind;
}

/** Passes over a field that the mapping does not have (any more). */
export function skipper(written: Written): (reader: AvroReader) => void {
  switch (written.kind) {
    case 'null':
      return () => {};
    case 'boolean':
      return (reader) => reader.boolean();
    case 'int':
    case 'long':
      return (reader) => reader.long();
    case 'float':
      return (reader) => reader.skip(4);
    case 'double':
      return (reader) => reader.skip(8);
    case 'string':
    case 'bytes':
      return (reader) => reader.skip();
    case 'fixed':
      return (reader) => reader.skip(written.size);
    case 'enum':
      return (reader) => reader.index(written.symbols.length);
    case 'union': {
      const branches = written.branches.map(skipper);
      return (reader) => branches[reader.index(branches.length)]?.(reader);
    }
    case 'record': {
      const fields = written.fields.map((field) => skipper(field.type));
      return (reader) => {
        for (const skip of fields) skip(reader);
      };
    }
  }
}
