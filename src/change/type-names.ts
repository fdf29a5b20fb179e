import { UsageError } from '../errors.ts';
import { MAX_PRECISION } from './decimal.ts';
import type { ColumnType } from './table.ts';

/** Types without parameters, by every spelling that is taken. */
const PLAIN: Readonly<Record<string, ColumnType>> = {
  boolean: { name: 'boolean' },
  bool: { name: 'boolean' },
  smallint: { name: 'smallint' },
  int2: { name: 'smallint' },
  integer: { name: 'integer' },
  int: { name: 'integer' },
  int4: { name: 'integer' },
  bigint: { name: 'bigint' },
  int8: { name: 'bigint' },
  real: { name: 'real' },
  float4: { name: 'real' },
  'double precision': { name: 'double precision' },
  double: { name: 'double precision' },
  float8: { name: 'double precision' },
  text: { name: 'text' },
  string: { name: 'text' },
  varchar: { name: 'text' },
  'character varying': { name: 'text' },
  date: { name: 'date' },
  timestamp: { name: 'timestamp' },
  'timestamp without time zone': { name: 'timestamp' },
  timestamp_ntz: { name: 'timestamp' },
  timestamptz: { name: 'timestamptz' },
  'timestamp with time zone': { name: 'timestamptz' },
  uuid: { name: 'uuid' },
  bytea: { name: 'bytea' },
  jsonb: { name: 'jsonb' },
};

const KNOWN =
  'boolean, smallint, integer, bigint, numeric(p,s), real, double precision, text, varchar(n), date, ' +
  'timestamp, timestamptz, uuid, bytea, jsonb, enum(name)';

/** Types that somebody will try, and what to write instead. */
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [
    /\[\]$|^array\b|^struct\b|^map\b|^row\b|^composite\b/,
    'arrays and nested types are not supported: use jsonb',
  ],
  [
    /^(numeric|decimal|dec)$/,
    'give precision and scale, as in numeric(12,2): Delta has no unbounded decimal',
  ],
  [/^float\b/, 'write real (32 bits) or double precision (64 bits): "float" means either'],
  [/^(char|character|bpchar)\b/, 'char(n) pads with blanks that Delta does not have: use varchar(n) or text'],
  [/^json$/, 'use jsonb'],
  [
    /^time(stamp|stamptz|stamp_ntz)?\s*\(/,
    'fewer than six decimals of a second would round: leave the precision out',
  ],
  [/^(time|timetz|interval)\b/, 'Delta has no such type: use text or bigint'],
  [/^(money)$/, 'use numeric(19,2)'],
  [
    /^(serial|serial4|bigserial|serial8|smallserial|serial2)$/,
    'name the column type itself: integer, bigint or smallint',
  ],
];

/**
 * Reads a type as Postgres writes it ("numeric(12,2)", "varchar(40)", "enum(mood)", also int8, decimal …;
 * "timestamp" is the one without time zone). Throws a UsageError for arrays, nested and unknown types.
 */
export function parseColumnType(text: string): ColumnType {
  const spelled = text.trim().replace(/\s+/g, ' ');
  const lower = spelled.toLowerCase();
  const plain = Object.hasOwn(PLAIN, lower) ? PLAIN[lower] : undefined;
  if (plain !== undefined) return plain;

  const decimal = /^(?:numeric|decimal|dec) ?\( ?(\d{1,6}) ?(?:, ?(\d{1,6}) ?)?\)$/.exec(lower);
  if (decimal !== null) return numericType(text, Number(decimal[1]), Number(decimal[2] ?? '0'));

  const varchar = /^(?:varchar|character varying) ?\( ?(\d{1,9}) ?\)$/.exec(lower);
  if (varchar !== null) return varcharType(text, Number(varchar[1]));

  if (/^timestamp ?\( ?6 ?\)( without time zone)?$/.test(lower)) return { name: 'timestamp' };
  if (/^(timestamptz ?\( ?6 ?\)|timestamp ?\( ?6 ?\) with time zone)$/.test(lower))
    return { name: 'timestamptz' };

  // The name keeps its case: Postgres folds only what is not quoted, and it will be quoted.
  const enumType = /^enum ?\( ?([^\s().,"']+(?:\.[^\s().,"']+)?) ?\)$/i.exec(spelled);
  if (enumType?.[1] !== undefined) return { name: 'enum', type: enumType[1] };
  if (/^enum\b/.test(lower)) throw unsupported(text, 'give the name of the Postgres type, as in enum(mood)');

  const refused = REFUSED.find(([pattern]) => pattern.test(lower));
  throw unsupported(text, refused === undefined ? `known types: ${KNOWN}` : refused[1]);
}

/** The canonical spelling, which `parseColumnType` takes back. */
export function columnTypeText(type: ColumnType): string {
  switch (type.name) {
    case 'numeric':
      return `numeric(${type.precision},${type.scale})`;
    case 'varchar':
      return `varchar(${type.length})`;
    case 'enum':
      return `enum(${type.type})`;
    case 'boolean':
    case 'smallint':
    case 'integer':
    case 'bigint':
    case 'real':
    case 'double precision':
    case 'text':
    case 'date':
    case 'timestamp':
    case 'timestamptz':
    case 'uuid':
    case 'bytea':
    case 'jsonb':
      return type.name;
  }
}

/**
 * The type as DDL and casts take it: the canonical spelling, and for an enum the name of its type,
 * quoted by `quoteQualified` (src/connections/identifiers.ts).
 */
export function postgresTypeOf(type: ColumnType, quoteQualified: (name: string) => string): string {
  return type.name === 'enum' ? quoteQualified(type.type) : columnTypeText(type);
}

function numericType(text: string, precision: number, scale: number): ColumnType {
  if (precision < 1 || precision > MAX_PRECISION) {
    throw unsupported(
      text,
      `the precision must be 1 to ${MAX_PRECISION}, the most that Delta's DECIMAL holds`,
    );
  }
  if (scale > precision) throw unsupported(text, 'the scale must not be larger than the precision');
  return { name: 'numeric', precision, scale };
}

function varcharType(text: string, length: number): ColumnType {
  if (length < 1 || length > 10_485_760) throw unsupported(text, 'the length must be 1 to 10485760');
  return { name: 'varchar', length };
}

function unsupported(text: string, why: string): UsageError {
  return new UsageError({ code: 'TYPE_UNSUPPORTED', message: `column type "${text}": ${why}` });
}
