import type { ColumnType } from '../../src/change/table.ts';

/** A value at the edge of its type: what the readers hand in, and what Postgres gets. */
export interface Accepted {
  readonly exchange: string;
  readonly postgres: string;
}

export interface Refused {
  readonly exchange: string;
  readonly code: 'VALUE_INVALID' | 'VALUE_OUT_OF_RANGE';
}

export interface TypeCases {
  /** The column type that the cases are of. */
  readonly type: string;
  readonly accepted: readonly Accepted[];
  readonly refused: readonly Refused[];
  /** Of the accepted Postgres texts, those that docs/TYPES.md shows as the ends of the type. */
  readonly extremes: readonly string[];
  /** What docs/TYPES.md says is refused. */
  readonly refusals: string;
}

const same = (...texts: readonly string[]): readonly Accepted[] =>
  texts.map((text) => ({ exchange: text, postgres: text }));

const accepted = (
  ...pairs: readonly (readonly [exchange: string, postgres: string])[]
): readonly Accepted[] => pairs.map(([exchange, postgres]) => ({ exchange, postgres }));

const invalid = (...texts: readonly string[]): readonly Refused[] =>
  texts.map((exchange) => ({ exchange, code: 'VALUE_INVALID' }));

const outOfRange = (...texts: readonly string[]): readonly Refused[] =>
  texts.map((exchange) => ({ exchange, code: 'VALUE_OUT_OF_RANGE' }));

/** A new column type does not compile until it is specified here. */
export const TYPE_CASES: Readonly<Record<ColumnType['name'], TypeCases>> = {
  boolean: {
    type: 'boolean',
    accepted: same('true', 'false'),
    refused: invalid('', 't', 'TRUE', '1'),
    extremes: ['false', 'true'],
    refusals: 'anything else',
  },
  smallint: {
    type: 'smallint',
    accepted: same('-32768', '-1', '0', '32767'),
    refused: [
      ...outOfRange('-32769', '32768', '99999999999999999999'),
      ...invalid('', '-', '1.0', '1e3', ' 1', '+1'),
    ],
    extremes: ['-32768', '32767'],
    refusals: 'outside −32768 … 32767',
  },
  integer: {
    type: 'integer',
    accepted: accepted(
      ['-2147483648', '-2147483648'],
      ['2147483647', '2147483647'],
      ['-0', '0'],
      ['007', '7'],
    ),
    refused: [...outOfRange('-2147483649', '2147483648'), ...invalid('', '0x10', '1_000', 'NaN')],
    extremes: ['-2147483648', '2147483647'],
    refusals: 'outside −2³¹ … 2³¹−1',
  },
  bigint: {
    type: 'bigint',
    accepted: same(
      '-9223372036854775808',
      '-9007199254740993',
      '-9007199254740992',
      '-9007199254740991',
      '0',
      '4294967295',
      '9007199254740991',
      '9007199254740992',
      '9007199254740993',
      '9223372036854775807',
    ),
    refused: [...outOfRange('-9223372036854775809', '9223372036854775808'), ...invalid('', '1n', '9.0')],
    extremes: ['-9223372036854775808', '9223372036854775807'],
    refusals: 'outside −2⁶³ … 2⁶³−1',
  },
  numeric: {
    type: 'numeric(12,2)',
    accepted: accepted(
      ['9999999999.99', '9999999999.99'],
      ['-9999999999.99', '-9999999999.99'],
      ['0', '0.00'],
      ['-0.00', '0.00'],
      ['-0.01', '-0.01'],
      ['0012.5', '12.50'],
      ['1.500', '1.50'],
      ['0E-18', '0.00'],
      ['1.25E+3', '1250.00'],
      ['5E-2', '0.05'],
      ['125E-2', '1.25'],
    ),
    refused: [
      ...outOfRange('1.001', '10000000000', '-10000000000.00', '1e10', '1e-3', '1E999', 'NaN', 'Infinity'),
      ...invalid('', '.', '1.', '.5', '1,5', '0x1', '--1', '1e', '1e9999'),
    ],
    extremes: ['-9999999999.99', '9999999999.99'],
    refusals:
      'more significant decimals than the scale, more digits than the precision (never rounded); NaN, ±infinity',
  },
  real: {
    type: 'real',
    accepted: accepted(
      ['3.4028235E38', '3.4028235e+38'],
      ['-3.4028235e+38', '-3.4028235e+38'],
      ['1.17549435E-38', '1.1754944e-38'],
      ['1.4E-45', '1e-45'],
      ['0.1', '0.1'],
      ['16777216', '16777216'],
      ['-0.0', '-0'],
      ['NaN', 'NaN'],
      ['Infinity', 'Infinity'],
      ['-Infinity', '-Infinity'],
    ),
    refused: [...outOfRange('3.5e38', '-1e400', '1e-50'), ...invalid('', 'nan', 'inf', '1e', '0x1p3')],
    extremes: ['-3.4028235e+38', '1e-45', '3.4028235e+38', '-0', 'NaN', 'Infinity', '-Infinity'],
    refusals: 'beyond the largest or below the smallest 32-bit float',
  },
  'double precision': {
    type: 'double precision',
    accepted: accepted(
      ['1.7976931348623157E308', '1.7976931348623157e+308'],
      ['-1.7976931348623157e+308', '-1.7976931348623157e+308'],
      ['2.2250738585072014E-308', '2.2250738585072014e-308'],
      ['4.9E-324', '5e-324'],
      ['0.1', '0.1'],
      ['0.30000000000000004', '0.30000000000000004'],
      ['-0.0', '-0'],
      ['NaN', 'NaN'],
      ['Infinity', 'Infinity'],
      ['-Infinity', '-Infinity'],
    ),
    refused: [...outOfRange('1.8e308', '1e-400'), ...invalid('', 'nan', '1d', '1 ')],
    extremes: [
      '-1.7976931348623157e+308',
      '5e-324',
      '1.7976931348623157e+308',
      '-0',
      'NaN',
      'Infinity',
      '-Infinity',
    ],
    refusals: 'beyond the largest or below the smallest double',
  },
  text: {
    type: 'text',
    accepted: same(
      '',
      ' ',
      'null',
      '\\N',
      'ünï\tcode\n"quoted"',
      '𝒳 👩‍🚀 \u{10ffff}',
      '\ufffd\ufeff',
      '\u0001\u007f',
      'x'.repeat(70_000),
    ),
    refused: invalid('a\0b', '\ud800', 'x\udc00'),
    extremes: ['', '𝒳 👩‍🚀 \u{10ffff}'],
    refusals: 'NUL; half a surrogate pair',
  },
  varchar: {
    type: 'varchar(4)',
    accepted: same('', 'abcd', '𝒳𝒳𝒳𝒳', 'a  '),
    refused: [...outOfRange('abcde', 'abcd ', '𝒳𝒳𝒳𝒳𝒳'), ...invalid('\0', '\ud800')],
    extremes: ['', '𝒳𝒳𝒳𝒳'],
    refusals: 'more than n characters (blanks count, nothing is cut); as text',
  },
  date: {
    type: 'date',
    accepted: accepted(
      ['-719162', '0001-01-01'],
      ['-141428', '1582-10-14'],
      ['-1', '1969-12-31'],
      ['0', '1970-01-01'],
      ['11016', '2000-02-29'],
      ['2932896', '9999-12-31'],
    ),
    refused: [
      ...outOfRange('-719163', '2932897', 'infinity', '-infinity'),
      ...invalid('', '2024-01-01', '1.5'),
    ],
    extremes: ['0001-01-01', '9999-12-31'],
    refusals: 'BC, years past 9999, ±infinity',
  },
  timestamp: {
    type: 'timestamp',
    accepted: accepted(
      ['-62135596800000000', '0001-01-01 00:00:00'],
      ['-9007199254740992', '1684-07-28 00:12:25.259008'],
      ['-9007199254740991', '1684-07-28 00:12:25.259009'],
      ['-1', '1969-12-31 23:59:59.999999'],
      ['0', '1970-01-01 00:00:00'],
      ['1', '1970-01-01 00:00:00.000001'],
      ['951782400000000', '2000-02-29 00:00:00'],
      ['9007199254740991', '2255-06-05 23:47:34.740991'],
      ['9007199254740993', '2255-06-05 23:47:34.740993'],
      ['253402300799999999', '9999-12-31 23:59:59.999999'],
    ),
    refused: [
      ...outOfRange('-62135596800000001', '253402300800000000', 'infinity', '-infinity'),
      ...invalid('', '2024-01-01 00:00:00', '1.5'),
    ],
    extremes: ['0001-01-01 00:00:00', '9999-12-31 23:59:59.999999'],
    refusals: 'BC, years past 9999, ±infinity',
  },
  timestamptz: {
    type: 'timestamptz',
    accepted: accepted(
      ['-62135596800000000', '0001-01-01 00:00:00+00'],
      ['-1', '1969-12-31 23:59:59.999999+00'],
      ['0', '1970-01-01 00:00:00+00'],
      ['1735689599123456', '2024-12-31 23:59:59.123456+00'],
      ['9007199254740993', '2255-06-05 23:47:34.740993+00'],
      ['253402300799999999', '9999-12-31 23:59:59.999999+00'],
    ),
    refused: [
      ...outOfRange('-62135596800000001', '253402300800000000', 'infinity', '-infinity'),
      ...invalid('', '2024-01-01', '1e15'),
    ],
    extremes: ['0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00'],
    refusals: 'BC, years past 9999, ±infinity',
  },
  uuid: {
    type: 'uuid',
    accepted: accepted(
      ['00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000'],
      ['FFFFFFFF-ffff-FFFF-ffff-FFFFFFFFFFFF', 'ffffffff-ffff-ffff-ffff-ffffffffffff'],
    ),
    refused: invalid(
      '',
      '0000',
      '{00000000-0000-0000-0000-000000000000}',
      '00000000-0000-0000-0000-00000000000g',
    ),
    extremes: ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'],
    refusals: 'anything but 8-4-4-4-12 hexadecimal digits',
  },
  bytea: {
    type: 'bytea',
    accepted: accepted(['', '\\x'], ['00', '\\x00'], ['00FFdeadBEEF', '\\x00ffdeadbeef']),
    refused: invalid('0', '0g', '\\x00', '0x00'),
    extremes: ['\\x', '\\x00ffdeadbeef'],
    refusals: '—',
  },
  jsonb: {
    type: 'jsonb',
    accepted: same(
      'null',
      '""',
      '12345678901234567890.1234567890123456789',
      '{"a":1,"a":2,"b":[1e400,-0.0]}',
      ' {"x" : "\\u00e9\\ud83d\\ude00"} ',
      '"\\\\u0000"',
    ),
    refused: invalid('', '{', "{'a':1}", 'NaN', '"\\u0000"', '{"\\u0000":1}', '"\\ud800"', '"a\0"'),
    extremes: ['12345678901234567890.1234567890123456789'],
    refusals: 'what is not JSON; \\u0000 and half a surrogate pair, which jsonb cannot store',
  },
  enum: {
    type: 'enum(mood)',
    accepted: same('happy', 'ünglücklich', 'with space'),
    refused: invalid('a\0', '\udfff'),
    extremes: ['happy'],
    refusals: 'as text; a label that the type lacks is refused by Postgres',
  },
};
