import { asBuffer } from './bytes.ts';
import { dateText, FIRST_DAY, FIRST_MICROS, LAST_DAY, LAST_MICROS, timestampText } from './calendar.ts';
import type { Value } from './change.ts';
import { decimalParser } from './decimal.ts';
import { doubleText, parseDouble, parseReal, realText } from './floats.ts';
import { BIGINT_MAX, BIGINT_MIN, parseInteger } from './integers.ts';
import { invalidValue, misshapenValue, valueOutOfRange } from './refusals.ts';
import type { ColumnType } from './table.ts';
import { parseHex, parseJson, parseText, parseUuid, parseVarchar } from './texts.ts';
import { columnTypeText } from './type-names.ts';

export { columnTypeText, parseColumnType, postgresTypeOf } from './type-names.ts';

export type ExactValue = Exclude<Value, null>;
export type Parser = (text: string) => ExactValue;
export type Formatter = (value: ExactValue) => string;

/** A type as Avro's JSON writes it. */
export type AvroType =
  | 'boolean'
  | 'int'
  | 'long'
  | 'float'
  | 'double'
  | 'string'
  | 'bytes'
  | { readonly type: 'int' | 'long' | 'string'; readonly logicalType: string }
  | {
      readonly type: 'bytes';
      readonly logicalType: 'decimal';
      readonly precision: number;
      readonly scale: number;
    };

/** Everything that differs from type to type, in one place; docs/TYPES.md is made from it. */
interface TypeRule<T extends ColumnType> {
  avro(type: T): AvroType;
  delta(type: T): string;
  parser(type: T, where: string): Parser;
  formatter(type: T, where: string): Formatter;
}

const RULES: { readonly [N in ColumnType['name']]: TypeRule<Extract<ColumnType, { name: N }>> } = {
  boolean: {
    avro: () => 'boolean',
    delta: () => 'BOOLEAN',
    parser: (_, where) => (text) => {
      if (text === 'true') return true;
      if (text === 'false') return false;
      throw invalidValue(where, text, 'is neither true nor false');
    },
    formatter: (_, where) => (value) => {
      if (typeof value !== 'boolean') throw misshapenValue(where, value);
      return value ? 'true' : 'false';
    },
  },
  smallint: {
    avro: () => 'int',
    delta: () => 'SMALLINT',
    parser: (_, where) => integerParser(-32_768, 32_767, where),
    formatter: (_, where) => integerFormatter(where),
  },
  integer: {
    avro: () => 'int',
    delta: () => 'INT',
    parser: (_, where) => integerParser(-2_147_483_648, 2_147_483_647, where),
    formatter: (_, where) => integerFormatter(where),
  },
  bigint: {
    avro: () => 'long',
    delta: () => 'BIGINT',
    parser: (_, where) => wideParser(BIGINT_MIN, BIGINT_MAX, where),
    formatter: (_, where) => integerFormatter(where),
  },
  numeric: {
    avro: ({ precision, scale }) => ({ type: 'bytes', logicalType: 'decimal', precision, scale }),
    delta: ({ precision, scale }) => `DECIMAL(${precision},${scale})`,
    parser: ({ precision, scale }, where) => decimalParser(precision, scale, where),
    formatter: (_, where) => textFormatter(where),
  },
  real: {
    avro: () => 'float',
    delta: () => 'FLOAT',
    parser: (_, where) => (text) => parseReal(text, where),
    formatter: (_, where) => numberFormatter(realText, where),
  },
  'double precision': {
    avro: () => 'double',
    delta: () => 'DOUBLE',
    parser: (_, where) => (text) => parseDouble(text, where),
    formatter: (_, where) => numberFormatter(doubleText, where),
  },
  text: {
    avro: () => 'string',
    delta: () => 'STRING',
    parser: (_, where) => (text) => parseText(text, where),
    formatter: (_, where) => textFormatter(where),
  },
  varchar: {
    avro: () => 'string',
    delta: () => 'STRING',
    parser:
      ({ length }, where) =>
      (text) =>
        parseVarchar(text, length, where),
    formatter: (_, where) => textFormatter(where),
  },
  date: {
    avro: () => ({ type: 'int', logicalType: 'date' }),
    delta: () => 'DATE',
    parser: (_, where) => integerParser(FIRST_DAY, LAST_DAY, where, YEARS),
    formatter: (_, where) => numberFormatter(dateText, where),
  },
  timestamp: {
    avro: () => ({ type: 'long', logicalType: 'local-timestamp-micros' }),
    delta: () => 'TIMESTAMP_NTZ',
    parser: (_, where) => wideParser(FIRST_MICROS, LAST_MICROS, where, YEARS),
    formatter: (_, where) => (value) => {
      if (typeof value !== 'number' && typeof value !== 'bigint') throw misshapenValue(where, value);
      return timestampText(value);
    },
  },
  timestamptz: {
    avro: () => ({ type: 'long', logicalType: 'timestamp-micros' }),
    delta: () => 'TIMESTAMP',
    parser: (_, where) => wideParser(FIRST_MICROS, LAST_MICROS, where, YEARS),
    formatter: (_, where) => (value) => {
      if (typeof value !== 'number' && typeof value !== 'bigint') throw misshapenValue(where, value);
      return `${timestampText(value)}+00`;
    },
  },
  uuid: {
    avro: () => ({ type: 'string', logicalType: 'uuid' }),
    delta: () => 'STRING',
    parser: (_, where) => (text) => parseUuid(text, where),
    formatter: (_, where) => textFormatter(where),
  },
  bytea: {
    avro: () => 'bytes',
    delta: () => 'BINARY',
    parser: (_, where) => (text) => parseHex(text, where),
    formatter: (_, where) => (value) => {
      if (!(value instanceof Uint8Array)) throw misshapenValue(where, value);
      return `\\x${asBuffer(value).toString('hex')}`;
    },
  },
  jsonb: {
    avro: () => 'string',
    delta: () => 'STRING',
    parser: (_, where) => (text) => parseJson(text, where),
    formatter: (_, where) => textFormatter(where),
  },
  enum: {
    // Not Avro's enum: a label added in Postgres would be an incompatible schema.
    avro: () => 'string',
    delta: () => 'STRING',
    parser: (_, where) => (text) => parseText(text, where),
    formatter: (_, where) => textFormatter(where),
  },
};

/** The type of the column's values on the wire. */
export function avroTypeOf(type: ColumnType): AvroType {
  return ruleOf(type).avro(type);
}

/** The column's type in Delta's DDL. */
export function deltaTypeOf(type: ColumnType): string {
  return ruleOf(type).delta(type);
}

/**
 * A reader of exchange text, for loops. It throws a PoisonError, VALUE_INVALID where the text is not of
 * the type, VALUE_OUT_OF_RANGE where the column could not hold it exactly; `column` only names it there.
 */
export function parserFor(type: ColumnType, column?: string): Parser {
  return ruleOf(type).parser(type, labelOf(type, column));
}

/** A writer of the text input form that Postgres reads back exactly, before any COPY escaping, for loops. */
export function formatterFor(type: ColumnType, column?: string): Formatter {
  return ruleOf(type).formatter(type, labelOf(type, column));
}

/** As `parserFor`, for one value. */
export function parseExchange(type: ColumnType, text: string): ExactValue {
  return parserFor(type)(text);
}

/** As `formatterFor`, for one value. */
export function formatPostgres(type: ColumnType, value: ExactValue): string {
  return formatterFor(type)(value);
}

const YEARS = 'is outside the years 0001 to 9999 that both sides hold';

function ruleOf(type: ColumnType): TypeRule<ColumnType> {
  return RULES[type.name];
}

function labelOf(type: ColumnType, column: string | undefined): string {
  return column === undefined ? columnTypeText(type) : `column ${column} (${columnTypeText(type)})`;
}

function integerParser(
  lowest: number,
  highest: number,
  where: string,
  outside = `is outside ${lowest} to ${highest}`,
): Parser {
  return (text) => {
    const value = parseInteger(text);
    if (value === undefined) throw refusedInteger(where, text);
    if (value < lowest || value > highest) throw valueOutOfRange(where, text, outside);
    return value;
  };
}

/** For bounds that no double-safe integer reaches: only bigints are compared. */
function wideParser(
  lowest: bigint,
  highest: bigint,
  where: string,
  outside = `is outside ${lowest} to ${highest}`,
): Parser {
  return (text) => {
    const value = parseInteger(text);
    if (value === undefined) throw refusedInteger(where, text);
    if (typeof value === 'bigint' && (value < lowest || value > highest)) {
      throw valueOutOfRange(where, text, outside);
    }
    return value;
  };
}

function refusedInteger(where: string, text: string): Error {
  return /^[+-]?infinity$/i.test(text)
    ? valueOutOfRange(where, text, 'has no counterpart in Delta')
    : invalidValue(where, text, 'is not an integer');
}

function integerFormatter(where: string): Formatter {
  return (value) => {
    if (typeof value !== 'bigint' && !Number.isInteger(value)) throw misshapenValue(where, value);
    return String(value);
  };
}

function numberFormatter(format: (value: number) => string, where: string): Formatter {
  return (value) => {
    if (typeof value !== 'number') throw misshapenValue(where, value);
    return format(value);
  };
}

function textFormatter(where: string): Formatter {
  return (value) => {
    if (typeof value !== 'string') throw misshapenValue(where, value);
    return value;
  };
}
