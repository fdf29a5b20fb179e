import { FIRST_MICROS, LAST_MICROS } from './calendar.ts';
import { exactInteger } from './integers.ts';
import { invalidValue, valueOutOfRange } from './refusals.ts';
import type { ColumnType } from './table.ts';
import { columnTypeText, parserFor, type Parser } from './types.ts';

/**
 * A reader of the text that Postgres prints for a value (ISO dates, hex bytea, shortest floats), for
 * loops. As `parserFor` it gives exact values and throws a PoisonError where there is none: infinity, a
 * year before 1 or after 9999, a text of another type.
 */
export function postgresParserFor(type: ColumnType, column?: string): Parser {
  const where = column === undefined ? columnTypeText(type) : `column ${column} (${columnTypeText(type)})`;
  switch (type.name) {
    case 'boolean':
      return (text) => parseBoolean(text, where);
    case 'bytea':
      return byteaParser(type, column, where);
    case 'date':
      return (text) => parseDate(text, where);
    case 'timestamp':
      return (text) => parseTimestamp(text, false, where);
    case 'timestamptz':
      return (text) => parseTimestamp(text, true, where);
    case 'smallint':
    case 'integer':
    case 'bigint':
    case 'numeric':
    case 'real':
    case 'double precision':
    case 'text':
    case 'varchar':
    case 'uuid':
    case 'jsonb':
    case 'enum':
      return parserFor(type, column);
  }
}

const YEARS = 'is outside the years 0001 to 9999 that both sides hold';
const NO_COUNTERPART = 'has no counterpart in Delta';

const DATE = /^(\d{4,})-(\d\d)-(\d\d)( BC)?$/;
const TIMESTAMP =
  /^(\d{4,})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?)?( BC)?$/;
const INFINITE = /^-?infinity$/;

const DAY_MICROS = 86_400_000_000;
const SECOND_MICROS = 1_000_000;

function parseBoolean(text: string, where: string): boolean {
  if (text === 't' || text === 'true') return true;
  if (text === 'f' || text === 'false') return false;
  throw invalidValue(where, text, 'is neither true nor false');
}

function byteaParser(type: ColumnType, column: string | undefined, where: string): Parser {
  const parseHex = parserFor(type, column);
  return (text) => {
    if (!text.startsWith('\\x')) throw invalidValue(where, text, 'is not bytea in hexadecimal');
    return parseHex(text.slice(2));
  };
}

function parseDate(text: string, where: string): number {
  const match = DATE.exec(text);
  if (match === null) throw refusedTime(where, text, 'is not a date');
  const [, year = '', month = '', day = '', bc] = match;
  const days = bc === undefined ? daysOf(Number(year), Number(month), Number(day)) : undefined;
  if (days === undefined) throw outsideOrInvalid(where, text, year, bc, 'is not a date');
  return days;
}

function parseTimestamp(text: string, zoned: boolean, where: string): number | bigint {
  const kind = zoned ? 'is not a timestamp with time zone' : 'is not a timestamp';
  const match = TIMESTAMP.exec(text);
  if (match === null) throw refusedTime(where, text, kind);
  const [, year = '', month = '', day = '', hour = '', minute = '', second = '', fraction = ''] = match;
  const [sign, zoneHour, zoneMinute = '0', zoneSecond = '0', bc] = match.slice(8);
  if ((sign !== undefined) !== zoned) throw invalidValue(where, text, kind);
  const seconds = clockSeconds(Number(hour), Number(minute), Number(second));
  if (seconds === undefined) throw invalidValue(where, text, kind);
  const zone = Number(zoneHour ?? 0) * 3600 + Number(zoneMinute) * 60 + Number(zoneSecond);
  const micros = (seconds - (sign === '-' ? -zone : zone)) * SECOND_MICROS + Number(fraction.padEnd(6, '0'));
  const days = bc === undefined ? daysOf(Number(year), Number(month), Number(day)) : undefined;
  if (days === undefined) throw outsideOrInvalid(where, text, year, bc, kind);
  const total = days * DAY_MICROS + micros;
  if (Number.isSafeInteger(total)) return total;
  const exact = BigInt(days) * BigInt(DAY_MICROS) + BigInt(micros);
  if (exact < FIRST_MICROS || exact > LAST_MICROS) throw valueOutOfRange(where, text, YEARS);
  return exactInteger(exact);
}

/** Undefined where the clock never shows it. */
function clockSeconds(hour: number, minute: number, second: number): number | undefined {
  return hour < 24 && minute < 60 && second < 60 ? hour * 3600 + minute * 60 + second : undefined;
}

/** Days since 1970-01-01; undefined where the calendar of the years 1 to 9999 has no such day. */
function daysOf(year: number, month: number, day: number): number | undefined {
  if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month))
    return undefined;
  // The year begins in March: the leap day is its last.
  const fromMarch = (month + 9) % 12;
  const marchYear = month > 2 ? year : year - 1;
  const century = Math.floor(marchYear / 100);
  const days =
    365 * marchYear +
    Math.floor(marchYear / 4) -
    century +
    Math.floor(century / 4) +
    Math.floor((153 * fromMarch + 2) / 5) +
    day -
    1;
  return days - 719_468;
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function outsideOrInvalid(
  where: string,
  text: string,
  year: string,
  bc: string | undefined,
  kind: string,
): Error {
  return bc !== undefined || Number(year) > 9999 || Number(year) < 1
    ? valueOutOfRange(where, text, YEARS)
    : invalidValue(where, text, kind);
}

function refusedTime(where: string, text: string, kind: string): Error {
  return INFINITE.test(text) ? valueOutOfRange(where, text, NO_COUNTERPART) : invalidValue(where, text, kind);
}
