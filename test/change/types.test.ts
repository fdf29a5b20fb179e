import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ColumnType } from '../../src/change/table.ts';
import {
  columnTypeText,
  deltaTypeOf,
  formatPostgres,
  formatterFor,
  parseColumnType,
  parseExchange,
  parserFor,
  postgresTypeOf,
} from '../../src/change/types.ts';
import { BugError, PoisonError, UsageError } from '../../src/errors.ts';
import { TYPE_CASES } from './type-cases.ts';

// Were one of these to fail, a row would arrive with another value than it left with.
for (const [name, cases] of Object.entries(TYPE_CASES)) {
  const type = parseColumnType(cases.type);

  test(`${cases.type}: the extremes reach Postgres unchanged`, () => {
    for (const { exchange, postgres } of cases.accepted) {
      const value = parseExchange(type, exchange);
      assert.equal(formatPostgres(type, value), postgres, exchange);
      assert.equal(formatterFor(type)(parserFor(type)(exchange)), postgres);
    }
  });

  test(`${cases.type}: what it cannot hold exactly is refused, not changed`, () => {
    for (const { exchange, code } of cases.refused) {
      assert.throws(
        () => parseExchange(type, exchange),
        (error) =>
          error instanceof PoisonError && error.code === code && error.message.startsWith(cases.type),
        `${JSON.stringify(exchange)} as ${code}`,
      );
    }
  });

  test(`${cases.type}: the type's own text reads back, and names the type`, () => {
    assert.equal(type.name, name);
    assert.deepEqual(parseColumnType(columnTypeText(type)), type);
  });
}

test('numeric: precision and scale at their limits', () => {
  const cases: readonly (readonly [type: string, text: string, expected: string | null])[] = [
    ['numeric(38,0)', '9'.repeat(38), '9'.repeat(38)],
    ['numeric(38,0)', '-0', '0'],
    ['numeric(38,0)', `1${'0'.repeat(38)}`, null],
    ['numeric(38,0)', '1E+37', `1${'0'.repeat(37)}`],
    ['numeric(38,38)', `0.${'9'.repeat(38)}`, `0.${'9'.repeat(38)}`],
    ['numeric(38,38)', '1', null],
    ['numeric(38,38)', '1E-38', `0.${'0'.repeat(37)}1`],
    ['numeric(38,38)', '1E-39', null],
    [
      'numeric(38,18)',
      '-12345678901234567890.123456789012345678',
      '-12345678901234567890.123456789012345678',
    ],
    ['numeric(1,1)', '0.9', '0.9'],
    ['numeric(1,1)', '0', '0.0'],
    ['numeric(1,1)', '1.0', null],
    ['numeric(1,0)', '10', null],
  ];
  for (const [type, text, expected] of cases) {
    const parse = parserFor(parseColumnType(type), 'amount');
    if (expected === null) {
      assert.throws(() => parse(text), { code: 'VALUE_OUT_OF_RANGE', message: /^column amount \(numeric/ });
    } else assert.equal(parse(text), expected);
  }
});

test('a long run of zeros is refused or read in linear time', () => {
  const parse = parserFor(parseColumnType('numeric(12,2)'));
  assert.equal(parse(`${'0'.repeat(200_000)}1.5${'0'.repeat(200_000)}`), '1.50');
  assert.throws(() => parse(`1.${'0'.repeat(200_000)}1`), { code: 'VALUE_OUT_OF_RANGE' });
});

test('integers have one form each, so that === compares them', () => {
  const bigint: ColumnType = { name: 'bigint' };
  assert.equal(parseExchange(bigint, '9007199254740991'), 9007199254740991);
  assert.equal(parseExchange(bigint, '9007199254740992'), 9007199254740992n);
  assert.equal(parseExchange(bigint, '0000000000000000000001'), 1);
  assert.ok(Object.is(parseExchange(bigint, '-0'), 0));
});

test('property: integers round 2^53 and at any length are exact', () => {
  const bigint: ColumnType = { name: 'bigint' };
  const near = fc
    .bigInt({ min: -1000n, max: 1000n })
    .chain((by) => fc.constantFrom(2n ** 53n + by, -(2n ** 53n) + by));
  fc.assert(
    fc.property(fc.oneof(near, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })), (exact) => {
      const value = parseExchange(bigint, String(exact));
      assert.equal(BigInt(value as number), exact);
      assert.equal(typeof value, Number.isSafeInteger(Number(exact)) ? 'number' : 'bigint');
      assert.equal(formatPostgres(bigint, value), String(exact));
    }),
    { numRuns: 2000 },
  );
});

test('property: timestamps agree with an independent calendar to the microsecond', () => {
  const type: ColumnType = { name: 'timestamptz' };
  const micros = fc.bigInt({ min: -62135596800000000n, max: 253402300799999999n });
  fc.assert(
    fc.property(micros, (at) => {
      const millis = (at - (((at % 1000n) + 1000n) % 1000n)) / 1000n;
      const [date = '', clock = ''] = new Date(Number(millis)).toISOString().replace('Z', '').split('T');
      const text = `${date} ${clock}${String(at - millis * 1000n).padStart(3, '0')}`;
      assert.equal(
        formatPostgres(type, parseExchange(type, String(at))),
        `${text.replace(/\.000000$/, '')}+00`,
      );
    }),
    { numRuns: 2000 },
  );
});

test('property: every real comes back from its text, and no shorter text does', () => {
  const type: ColumnType = { name: 'real' };
  fc.assert(
    fc.property(fc.float(), (value) => {
      const text = formatPostgres(type, value);
      assert.ok(Object.is(parseExchange(type, text), value), text);
      const digits = text.replace(/e.*$/, '').replaceAll(/\D/g, '').replace(/^0+/, '').length;
      assert.ok(!(digits > 9), text);
      if (digits > 1 && !Number.isInteger(value))
        assert.notEqual(Math.fround(Number(value.toPrecision(digits - 1))), value);
    }),
    { numRuns: 2000 },
  );
});

test('property: a numeric equals its text as an exact fraction', () => {
  const shape = fc.integer({ min: 1, max: 38 }).chain((precision) =>
    fc.record({
      precision: fc.constant(precision),
      scale: fc.integer({ min: 0, max: precision }),
      digits: fc.bigInt({ min: -(10n ** BigInt(precision)) + 1n, max: 10n ** BigInt(precision) - 1n }),
      places: fc.integer({ min: 0, max: 40 }),
    }),
  );
  let kept = 0;
  fc.assert(
    fc.property(shape, ({ precision, scale, digits, places }) => {
      const type: ColumnType = { name: 'numeric', precision, scale };
      // digits / 10^places, held exactly if and only if it is a whole number of 10^-scale below 10^(precision - scale).
      const numerator = digits * 10n ** BigInt(scale);
      const denominator = 10n ** BigInt(places);
      const fits =
        numerator % denominator === 0n && magnitude(numerator / denominator) < 10n ** BigInt(precision);
      const text = `${digits}E-${places}`;
      if (!fits) assert.throws(() => parseExchange(type, text), { code: 'VALUE_OUT_OF_RANGE' });
      else {
        kept++;
        const canonical = String(parseExchange(type, text));
        assert.equal(BigInt(canonical.replace('.', '')), numerator / denominator);
        assert.equal((canonical.split('.')[1] ?? '').length, scale);
        assert.equal(parseExchange(type, canonical), canonical);
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(kept > 100, `only ${kept} values fitted`);
});

test('column types are read in every usual spelling', () => {
  const spellings: readonly (readonly [string, string])[] = [
    ['INT8', 'bigint'],
    ['int', 'integer'],
    ['Decimal( 12 , 2 )', 'numeric(12,2)'],
    ['numeric(5)', 'numeric(5,0)'],
    ['bool', 'boolean'],
    ['character  varying(40)', 'varchar(40)'],
    ['varchar', 'text'],
    ['string', 'text'],
    ['double', 'double precision'],
    ['float4', 'real'],
    ['timestamp with time zone', 'timestamptz'],
    ['timestamp(6) with time zone', 'timestamptz'],
    ['timestamptz(6)', 'timestamptz'],
    ['timestamp without time zone', 'timestamp'],
    ['timestamp_ntz', 'timestamp'],
    ['enum(hr.Mood)', 'enum(hr.Mood)'],
  ];
  for (const [text, canonical] of spellings)
    assert.equal(columnTypeText(parseColumnType(text)), canonical, text);
});

test('types that cannot be kept in step are refused with what to write instead', () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ['text[]', /arrays and nested types.*jsonb/],
    ['array<string>', /arrays and nested types/],
    ['struct<a:int>', /arrays and nested types/],
    ['map<string,int>', /arrays and nested types/],
    ['numeric', /precision and scale/],
    ['numeric(39,2)', /1 to 38/],
    ['numeric(0,0)', /1 to 38/],
    ['numeric(2,3)', /scale must not be larger/],
    ['numeric(2,-3)', /known types/],
    ['varchar(0)', /length/],
    ['char(3)', /pads with blanks/],
    ['float', /either/],
    ['float(24)', /either/],
    ['timestamp(3)', /round/],
    ['timestamptz(0)', /round/],
    ['time', /no such type/],
    ['interval', /no such type/],
    ['json', /use jsonb/],
    ['money', /numeric/],
    ['serial', /integer/],
    ['enum', /enum\(mood\)/],
    ['enum(a"b)', /enum\(mood\)/],
    ['hstore', /known types: boolean/],
    ['', /known types/],
    ['toString', /known types/],
    ['__proto__', /known types/],
  ];
  for (const [text, message] of refused) {
    assert.throws(
      () => parseColumnType(text),
      (error) =>
        error instanceof UsageError && error.code === 'TYPE_UNSUPPORTED' && message.test(error.message),
      text,
    );
  }
});

test('DDL gets the quoted name of an enum, everything else its own text', () => {
  const quote = (name: string): string => `"${name}"`;
  assert.equal(postgresTypeOf(parseColumnType('enum(Mood)'), quote), '"Mood"');
  assert.equal(postgresTypeOf(parseColumnType('decimal(12,2)'), quote), 'numeric(12,2)');
  assert.equal(deltaTypeOf(parseColumnType('decimal(12,2)')), 'DECIMAL(12,2)');
});

test('a value of another form than its type has is our bug, not a silent conversion', () => {
  const wrong: readonly (readonly [string, string | number | boolean])[] = [
    ['boolean', 'true'],
    ['integer', '1'],
    ['bigint', 1.5],
    ['numeric(12,2)', 1.5],
    ['real', '1'],
    ['date', '2024-01-01'],
    ['timestamptz', '2024-01-01'],
    ['bytea', '00'],
    ['text', 5],
  ];
  for (const [type, value] of wrong) {
    assert.throws(() => formatPostgres(parseColumnType(type), value), BugError, type);
  }
});

function magnitude(value: bigint): bigint {
  return value < 0n ? -value : value;
}
