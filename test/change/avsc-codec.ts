import assert from 'node:assert/strict';
import avro from 'avsc';
import type { Change, Micros, Value } from '../../src/change/change.ts';
import type { Column, TableMapping } from '../../src/change/table.ts';

/**
 * The plain twin of src/change/avro.ts: the same wire form through the avsc library, with every logical type
 * registered. Slow and written for reading; the tests compare the two byte by byte and value by value.
 */
export interface AvscCodec {
  encode(change: Change, schemaId: number, emittedAt: Micros): Buffer;
  decode(value: Uint8Array, key: string): Change;
}

type Wire = Record<string, unknown>;

export function avscCodec(
  mapping: TableMapping,
  readerSchema: object,
  writerSchema: object = readerSchema,
): AvscCodec {
  const type = typeOf(readerSchema);
  const writer = typeOf(writerSchema);
  const resolver = type.createResolver(writer);
  return {
    encode(change, schemaId, emittedAt) {
      const { key: _, before, after, ...rest } = change;
      const wire = {
        ...rest,
        before: before === null ? null : toWire(mapping, before),
        after: after === null ? null : toWire(mapping, after),
        emitted_at: emittedAt,
      };
      const header = Buffer.alloc(5);
      header.writeUInt32BE(schemaId, 1);
      return Buffer.concat([header, type.toBuffer(wire)]);
    },
    decode(value, key) {
      const wire = type.fromBuffer(Buffer.from(value.subarray(5)), resolver) as Wire;
      const { emitted_at: _, before, after, ...rest } = { ...wire };
      return {
        ...(rest as unknown as Change),
        key,
        before: before === null ? null : fromWire(mapping, before as Wire),
        after: after === null ? null : fromWire(mapping, after as Wire),
      };
    },
  };
}

function toWire(mapping: TableMapping, row: readonly Value[]): Wire {
  return Object.fromEntries(mapping.columns.map((column, index) => [column.name, row[index]]));
}

function fromWire(mapping: TableMapping, wire: Wire): readonly Value[] {
  return mapping.columns.map((column: Column) => wire[column.name] as Value);
}

function typeOf(schema: object): avro.Type {
  return avro.Type.forSchema(schema as avro.Schema, {
    logicalTypes: { decimal: DecimalText, date: Unchanged, uuid: Unchanged } as never,
    assertLogicalTypes: true,
    wrapUnions: 'never' as never,
    typeHook: (found: unknown) => (isExactLong(found) ? exactLong() : undefined),
  });
}

/** Microseconds are handed over as the long they are; a logical type that nobody registered is an error. */
function isExactLong(schema: unknown): boolean {
  if (schema === 'long') return true;
  const { type, logicalType = null } = Object(schema) as { type?: unknown; logicalType?: unknown };
  if (type !== 'long') return false;
  assert.ok([null, 'timestamp-micros', 'local-timestamp-micros'].includes(logicalType as never));
  return true;
}

function exactLong(): avro.Type {
  return avro.types.LongType.__with({
    fromBuffer: (buffer: Buffer) => exact(buffer.readBigInt64LE()),
    toBuffer: (value: number | bigint) => {
      const buffer = Buffer.alloc(8);
      buffer.writeBigInt64LE(BigInt(value));
      return buffer;
    },
    fromJSON: (value: number) => value,
    toJSON: String,
    isValid: (value: unknown) => typeof value === 'bigint' || Number.isSafeInteger(value),
    compare: (a: bigint, b: bigint) => (a === b ? 0 : a < b ? -1 : 1),
  });
}

function exact(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

class Unchanged extends avro.types.LogicalType {
  override _fromValue(value: unknown): unknown {
    return value;
  }
  override _toValue(value: unknown): unknown {
    return value;
  }
  override _resolve(type: avro.Type): unknown {
    return avro.Type.isType(type, this.typeName) ? (value: unknown) => value : undefined;
  }
}

class DecimalText extends avro.types.LogicalType {
  readonly scale: number;

  constructor(schema: { scale: number }, options: unknown) {
    super(schema as unknown as avro.Schema, options);
    this.scale = schema.scale;
  }
  override _fromValue(bytes: Buffer): string {
    const size = BigInt(bytes.length * 8);
    const unscaled = BigInt.asIntN(Number(size), BigInt(`0x${bytes.toString('hex')}`));
    const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(this.scale + 1, '0');
    const whole = digits.slice(0, digits.length - this.scale);
    const fraction = this.scale === 0 ? '' : `.${digits.slice(-this.scale)}`;
    return (unscaled < 0n ? '-' : '') + whole + fraction;
  }
  override _toValue(text: unknown): Buffer | undefined {
    if (typeof text !== 'string') return undefined;
    const unscaled = BigInt(text.replace('.', ''));
    let size = 1;
    while (BigInt.asIntN(size * 8, unscaled) !== unscaled) size++;
    const hex = BigInt.asUintN(size * 8, unscaled).toString(16);
    return Buffer.from(hex.padStart(size * 2, '0'), 'hex');
  }
  override _resolve(type: avro.Type): unknown {
    return avro.Type.isType(type, 'logical:decimal') ? (value: unknown) => value : undefined;
  }
}
