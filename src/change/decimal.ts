import { SUMMED_DIGITS } from './integers.ts';
import { invalidValue, valueOutOfRange } from './refusals.ts';

const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;

/** Delta's largest DECIMAL. */
export const MAX_PRECISION = 38;

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?$/;

/**
 * Reads numbers into the canonical text of numeric(precision, scale): exactly `scale` decimals, no
 * leading zeros, no negative zero. Also takes the exponent that Java prints for small decimals
 * ("0E-18"). Throws a PoisonError rather than round.
 */
export function decimalParser(precision: number, scale: number, where: string): (text: string) => string {
  return (text) => {
    if (isCanonical(text, precision, scale)) return text;
    const parts = DECIMAL.exec(text);
    if (parts === null) {
      if (/^(nan|[+-]?inf(inity)?)$/i.test(text))
        throw valueOutOfRange(where, text, 'has no exact decimal form');
      throw invalidValue(where, text, 'is not a decimal number');
    }
    const [, sign = '', before = '', after = '', exponent = '0'] = parts;
    const point = before.length + Number(exponent);
    const digits = '0'.repeat(Math.max(0, -point)) + (before + after).padEnd(point, '0');
    const whole = digits.slice(0, Math.max(0, point)).replace(/^0+/, '');
    const fraction = withoutTrailingZeros(digits.slice(Math.max(0, point)));
    if (fraction.length > scale) throw valueOutOfRange(where, text, `has more than ${scale} decimals`);
    if (whole.length > precision - scale) {
      throw valueOutOfRange(where, text, `has more than ${precision - scale} digits before the point`);
    }
    const shown = (whole === '' ? '0' : whole) + (scale === 0 ? '' : `.${fraction.padEnd(scale, '0')}`);
    return sign !== '' && (whole !== '' || fraction !== '') ? `-${shown}` : shown;
  };
}

/** A loop, since a regular expression for it backtracks over every run of zeros. */
function withoutTrailingZeros(digits: string): string {
  let end = digits.length;
  while (end > 0 && digits.charCodeAt(end - 1) === ZERO) end--;
  return digits.slice(0, end);
}

function isCanonical(text: string, precision: number, scale: number): boolean {
  const start = text.charCodeAt(0) === MINUS ? 1 : 0;
  const dot = scale === 0 ? text.length : text.length - scale - 1;
  const whole = dot - start;
  if (whole < 1) return false;
  if (text.charCodeAt(start) === ZERO ? whole > 1 : whole > precision - scale) return false;
  let zero = true;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (at === dot) {
      if (code !== DOT) return false;
    } else {
      if (code < ZERO || code > ZERO + 9) return false;
      if (code !== ZERO) zero = false;
    }
  }
  return !(zero && start === 1);
}

/** Canonical text → its digits as one integer ("-12.50" → -1250); undefined where it has not exactly `scale` decimals. */
export function unscaled(text: string, scale: number): number | bigint | undefined {
  const dot = scale === 0 ? text.length : text.length - scale - 1;
  const negative = text.charCodeAt(0) === MINUS;
  const start = negative ? 1 : 0;
  if (dot <= start) return undefined;
  let value = 0;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (at === dot) {
      if (code !== DOT) return undefined;
      continue;
    }
    const digit = code - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  const digits = text.length - start - (scale === 0 ? 0 : 1);
  if (digits > SUMMED_DIGITS || !Number.isSafeInteger(value)) {
    return BigInt(text.slice(0, dot) + text.slice(dot + 1));
  }
  return negative && value !== 0 ? -value : value;
}

/** The reverse of `unscaled`: canonical text with exactly `scale` decimals. */
export function decimalText(value: number | bigint, scale: number): string {
  if (scale === 0) return String(value);
  const negative = value < 0;
  const digits = String(negative ? -value : value).padStart(scale + 1, '0');
  const dot = digits.length - scale;
  const text = `${digits.slice(0, dot)}.${digits.slice(dot)}`;
  return negative ? `-${text}` : text;
}

/** Two's complement, big-endian, as few bytes as hold it: Avro's form of a decimal. */
export function twosComplement(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = Number(rest & 0xffn);
    bytes.push(low);
    rest >>= 8n;
    if ((rest === 0n && low < 0x80) || (rest === -1n && low >= 0x80)) return Uint8Array.from(bytes.reverse());
  }
}
