import { invalidValue, valueOutOfRange } from './refusals.ts';

const NUMBER = /^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

/** Shortest decimal, NaN, Infinity or -Infinity → double. -0 stays -0. */
export function parseDouble(text: string, where: string): number {
  return parseFloating(text, where, Number);
}

/** The same, to the nearest 32-bit float. */
export function parseReal(text: string, where: string): number {
  return parseFloating(text, where, (digits) => Math.fround(Number(digits)));
}

function parseFloating(text: string, where: string, nearest: (text: string) => number): number {
  if (text === 'NaN') return Number.NaN;
  if (text === 'Infinity') return Number.POSITIVE_INFINITY;
  if (text === '-Infinity') return Number.NEGATIVE_INFINITY;
  if (!NUMBER.test(text)) throw invalidValue(where, text, 'is not a number');
  const value = nearest(text);
  if (!Number.isFinite(value)) throw valueOutOfRange(where, text, 'is too large for this type');
  if (value === 0 && /^[^eE]*[1-9]/.test(text))
    throw valueOutOfRange(where, text, 'is too small for this type');
  return value;
}

export function doubleText(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/** The shortest text that float4 reads back as this value (a float's double text would be twice as long). */
export function realText(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return doubleText(value);
  if (!Number.isFinite(value)) return String(value);
  for (let digits = 1; digits < 9; digits++) {
    const text = value.toPrecision(digits);
    if (readsBackAs(text, value)) return text;
  }
  return value.toPrecision(9);
}

/** False also where the text lies so near the middle of two floats that going through a double could hide the side. */
function readsBackAs(text: string, value: number): boolean {
  const double = Number(text);
  if (Math.fround(double) !== value) return false;
  const mirrored = 2 * double - value;
  return double === value || Math.fround(mirrored) !== mirrored;
}
