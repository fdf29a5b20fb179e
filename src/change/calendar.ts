/** The years that Postgres and Delta share: 0001-01-01 to 9999-12-31, proleptic Gregorian in both. */
export const FIRST_DAY = -719_162;
export const LAST_DAY = 2_932_896;

const DAY_MICROS = 86_400_000_000;
const DAY_MILLIS = 86_400_000;

export const FIRST_MICROS = BigInt(FIRST_DAY) * BigInt(DAY_MICROS);
export const LAST_MICROS = (BigInt(LAST_DAY) + 1n) * BigInt(DAY_MICROS) - 1n;

const TWO_DIGITS: readonly string[] = Array.from({ length: 100 }, (_, n) => String(n).padStart(2, '0'));

/** Days since 1970-01-01 → "YYYY-MM-DD". */
export function dateText(days: number): string {
  const date = new Date(days * DAY_MILLIS);
  const year = date.getUTCFullYear();
  const text = `-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
  return (year >= 1000 ? String(year) : String(year).padStart(4, '0')) + text;
}

let cachedDay = Number.NaN;
let cachedDayText = '';

/** Microseconds since 1970 → "YYYY-MM-DD HH:MM:SS" with six decimals where they are not all zero. */
export function timestampText(micros: number | bigint): string {
  let day: number;
  let rest: number;
  if (typeof micros === 'number') {
    // Exact: below 2^53 the quotient is off by less than 2^-37, and 1/DAY_MICROS is more than that.
    day = Math.floor(micros / DAY_MICROS);
    rest = micros - day * DAY_MICROS;
  } else {
    const positive = micros - FIRST_MICROS;
    day = Number(positive / BigInt(DAY_MICROS)) + FIRST_DAY;
    rest = Number(positive % BigInt(DAY_MICROS));
  }
  if (day !== cachedDay) {
    cachedDayText = `${dateText(day)} `;
    cachedDay = day;
  }
  const seconds = Math.floor(rest / 1_000_000);
  const fraction = rest - seconds * 1_000_000;
  const minutes = Math.floor(seconds / 60);
  const clock = `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}:${two(seconds % 60)}`;
  return fraction === 0 ? cachedDayText + clock : `${cachedDayText}${clock}.${sixDigits(fraction)}`;
}

function sixDigits(fraction: number): string {
  const upper = Math.floor(fraction / 10_000);
  const lower = fraction - upper * 10_000;
  return two(upper) + two(Math.floor(lower / 100)) + two(lower % 100);
}

function two(n: number): string {
  return TWO_DIGITS[n] ?? String(n);
}
