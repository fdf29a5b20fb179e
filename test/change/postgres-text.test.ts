import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  dateText,
  FIRST_DAY,
  FIRST_MICROS,
  LAST_DAY,
  LAST_MICROS,
  timestampText,
} from '../../src/change/calendar.ts';
import { exactInteger } from '../../src/change/integers.ts';
import { postgresParserFor } from '../../src/change/postgres-text.ts';
import { parseColumnType } from '../../src/change/types.ts';
import { PoisonError } from '../../src/errors.ts';

const parse = (type: string, text: string): unknown => postgresParserFor(parseColumnType(type), 'c')(text);

describe('Postgres text to exact values', () => {
  const read: readonly (readonly [type: string, text: string, value: unknown])[] = [
    ['boolean', 't', true],
    ['boolean', 'f', false],
    ['boolean', 'true', true],
    ['boolean', 'false', false],
    ['bigint', '9007199254740993', 9007199254740993n],
    ['numeric(12,2)', '-0.50', '-0.50'],
    ['real', '1e+20', 100000002004087730000],
    ['double precision', '-Infinity', -Infinity],
    ['double precision', 'NaN', NaN],
    ['text', 'é\\x', 'é\\x'],
    ['bytea', '\\x00ff', Buffer.from([0, 255])],
    ['bytea', '\\x', Buffer.alloc(0)],
    ['jsonb', '{"a": 1.10}', '{"a": 1.10}'],
    ['date', '1970-01-01', 0],
    ['date', '0001-01-01', FIRST_DAY],
    ['date', '9999-12-31', LAST_DAY],
    ['date', '2000-02-29', 11016],
    ['date', '1900-02-28', -25509],
    ['timestamp', '1970-01-01 00:00:00', 0],
    ['timestamp', '1969-12-31 23:59:59.999999', -1],
    ['timestamp', '2024-02-29 12:34:56.7', 1709210096700000],
    ['timestamp', '0001-01-01 00:00:00', FIRST_MICROS],
    ['timestamptz', '9999-12-31 23:59:59.999999+00', LAST_MICROS],
    ['timestamptz', '1970-01-01 05:30:00+05:30', 0],
    ['timestamptz', '1969-12-31 19:04:00-04:56', 0],
    ['timestamptz', '1970-01-01 00:00:00.000001+00:00:00', 1],
  ];
  for (const [type, text, value] of read)
    it(`${type} ${text}`, () => assert.deepEqual(parse(type, text), value));

  const outside: readonly (readonly [string, string])[] = [
    ['date', 'infinity'],
    ['date', '-infinity'],
    ['date', '0044-03-15 BC'],
    ['date', '0001-01-01 BC'],
    ['date', '10000-01-01'],
    ['date', '5874897-12-31'],
    ['timestamp', 'infinity'],
    ['timestamp', '4713-11-24 00:00:00 BC'],
    ['timestamp', '294276-12-31 23:59:59.999999'],
    ['timestamptz', '-infinity'],
    ['timestamptz', '0044-03-15 12:00:00.5+00 BC'],
    ['timestamptz', '10000-01-01 00:00:00+00'],
    ['timestamptz', '9999-12-31 23:59:59.999999-01'],
    ['timestamptz', '0001-01-01 00:00:00+01'],
    ['numeric(12,2)', 'NaN'],
    ['bigint', '9223372036854775808'],
  ];
  for (const [type, text] of outside)
    it(`${type} ${text} has no counterpart`, () => refused(type, text, 'VALUE_OUT_OF_RANGE'));

  const invalid: readonly (readonly [string, string])[] = [
    ['boolean', 'yes'],
    ['bytea', '00ff'],
    ['bytea', '\\x0'],
    ['date', ''],
    ['date', '2023-02-29'],
    ['date', '2023-13-01'],
    ['date', '1970-01-01 00:00:00'],
    ['date', 'Infinity'],
    ['timestamp', '1970-01-01'],
    ['timestamp', '1970-01-01 24:00:00'],
    ['timestamp', '1970-01-01 00:00:00+00'],
    ['timestamptz', '1970-01-01 00:00:00'],
    ['timestamptz', '1970-01-01 00:00:60+00'],
    ['timestamptz', '1970-01-01 00:00:00.0000001+00'],
  ];
  for (const [type, text] of invalid)
    it(`${type} "${text}" is refused`, () => refused(type, text, 'VALUE_INVALID'));

  it('every day and every microsecond that both sides hold', () => {
    fc.assert(
      fc.property(fc.integer({ min: FIRST_DAY, max: LAST_DAY }), (days) =>
        assert.equal(parse('date', dateText(days)), days),
      ),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(fc.bigInt({ min: FIRST_MICROS, max: LAST_MICROS }), (micros) => {
        const value = exactInteger(micros);
        assert.equal(parse('timestamp', timestampText(value)), value);
        assert.equal(parse('timestamptz', `${timestampText(value)}+00`), value);
      }),
      { numRuns: 5_000 },
    );
  });
});

function refused(type: string, text: string, code: string): void {
  assert.throws(
    () => parse(type, text),
    (error) => error instanceof PoisonError && error.code === code && error.message.includes('column c'),
  );
}
