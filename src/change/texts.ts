import { invalidValue, valueOutOfRange } from './refusals.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HEX = /^(?:[0-9a-f]{2})*$/i;

/** Text that Postgres can store: no NUL, and nothing that UTF-8 cannot say. */
export function parseText(text: string, where: string): string {
  if (text.includes('\0')) throw invalidValue(where, text, 'contains NUL, which Postgres cannot store');
  if (!text.isWellFormed()) throw invalidValue(where, text, 'contains half of a surrogate pair');
  return text;
}

/** Postgres counts characters, not UTF-16 units, and would cut trailing blanks in silence. */
export function parseVarchar(text: string, length: number, where: string): string {
  parseText(text, where);
  if (text.length <= length) return text;
  let characters = 0;
  for (const _ of text) characters++;
  if (characters > length)
    throw valueOutOfRange(where, text, `has ${characters} characters, more than ${length}`);
  return text;
}

export function parseUuid(text: string, where: string): string {
  if (!UUID.test(text)) throw invalidValue(where, text, 'is not a UUID');
  return text.toLowerCase();
}

export function parseHex(text: string, where: string): Uint8Array {
  if (!HEX.test(text)) throw invalidValue(where, text, 'is not hexadecimal');
  return Buffer.from(text, 'hex');
}

/** Checks the text and gives it back as it is: numbers in it are never parsed and printed again. */
export function parseJson(text: string, where: string): string {
  parseText(text, where);
  try {
    // Only a \u escape can hide what jsonb refuses; without one the reviver is not worth its cost.
    if (text.includes('\\u')) JSON.parse(text, refuseUnstorable);
    else JSON.parse(text);
  } catch (error) {
    if (error instanceof UnstorableEscape)
      throw invalidValue(where, text, 'escapes a character that jsonb cannot store');
    throw invalidValue(where, text, 'is not JSON');
  }
  return text;
}

class UnstorableEscape extends Error {}

function refuseUnstorable(key: string, value: unknown): unknown {
  for (const text of [key, value]) {
    if (typeof text === 'string' && (text.includes('\0') || !text.isWellFormed()))
      throw new UnstorableEscape();
  }
  return value;
}
