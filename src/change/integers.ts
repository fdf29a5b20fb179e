const MINUS = 0x2d;
const ZERO = 0x30;

/**
 * So many digits can be summed in a double: the sum is exact if it is safe, and it is never safe by
 * mistake, since only the last step can pass 2^53.
 */
export const SUMMED_DIGITS = 16;

export const BIGINT_MIN = -(2n ** 63n);
export const BIGINT_MAX = 2n ** 63n - 1n;

/** The one form of an integer: a number where a double is safe, else a bigint. */
export function exactInteger(value: bigint): number | bigint {
  const narrow = Number(value);
  return Number.isSafeInteger(narrow) ? narrow : value;
}

/** Decimal digits with an optional minus → the exact integer; undefined for anything else. */
export function parseInteger(text: string): number | bigint | undefined {
  const negative = text.charCodeAt(0) === MINUS;
  const start = negative ? 1 : 0;
  if (text.length === start) return undefined;
  let value = 0;
  for (let at = start; at < text.length; at++) {
    const digit = text.charCodeAt(at) - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  if (text.length - start > SUMMED_DIGITS || !Number.isSafeInteger(value)) return exactInteger(BigInt(text));
  // Never -0: it would not equal the 0 that other readers make.
  return negative && value !== 0 ? -value : value;
}
