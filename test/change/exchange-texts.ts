import fc from 'fast-check';
import type { ColumnType } from '../../src/change/table.ts';

/** Exchange texts of every type, ends of its range included, none of them refused. */
const TEXTS: {
  readonly [N in ColumnType['name']]: (type: Extract<ColumnType, { name: N }>) => fc.Arbitrary<string>;
} = {
  boolean: () => fc.constantFrom('true', 'false'),
  smallint: () => whole(-(2n ** 15n), 2n ** 15n - 1n),
  integer: () => whole(-(2n ** 31n), 2n ** 31n - 1n),
  bigint: () => whole(-(2n ** 63n), 2n ** 63n - 1n),
  numeric: ({ precision, scale }) => {
    const limit = 10n ** BigInt(precision) - 1n;
    return whole(-limit, limit).map((digits) => `${digits}E-${scale}`);
  },
  real: () => fc.float().map(javaText),
  'double precision': () => fc.double().map(javaText),
  text: () => storable(fc.string({ unit: 'binary' })),
  varchar: ({ length }) => storable(fc.string({ unit: 'binary', maxLength: length })),
  date: () => whole(-719162n, 2932896n),
  timestamp: () => whole(-62135596800000000n, 253402300799999999n),
  timestamptz: () => whole(-62135596800000000n, 253402300799999999n),
  uuid: () => fc.uuid(),
  bytea: () => fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('hex')),
  jsonb: () =>
    fc
      .json()
      .filter((text) => !/\\u(0000|d[89a-f])/i.test(text) && text.isWellFormed() && !text.includes('\0')),
  enum: () => fc.constantFrom('sad', 'ok', 'happy'),
};

export function exchangeTexts(type: ColumnType): fc.Arbitrary<string> {
  return (TEXTS[type.name] as (type: ColumnType) => fc.Arbitrary<string>)(type);
}

/** Whole numbers of every size, not only huge ones. */
function whole(min: bigint, max: bigint): fc.Arbitrary<string> {
  const near = (value: bigint): bigint => (value < min ? min : value > max ? max : value);
  return fc
    .oneof(
      fc.bigInt({ min, max }),
      fc
        .integer({ min: 0, max: 127 })
        .chain((bits) => fc.bigInt({ min: -(1n << BigInt(bits)), max: 1n << BigInt(bits) })),
      fc.constantFrom(min, max, 0n, -1n),
    )
    .map((value) => String(near(value)));
}

function javaText(value: number): string {
  return Object.is(value, -0) ? '-0.0' : String(value).replace('e+', 'E').replace('e', 'E');
}

function storable(texts: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return texts.map((text) => text.replaceAll('\0', '\u0001'));
}
