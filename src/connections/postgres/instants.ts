import { timestampText } from '../../change/calendar.ts';
import type { Micros } from '../../change/change.ts';

let lastInstant: Micros = Number.NaN;
let lastText = '';

/** Micros → text that Postgres reads as that timestamptz, whatever the session's time zone. */
export function instantText(ts: Micros): string {
  if (ts === Infinity) return 'infinity';
  if (ts === -Infinity) return '-infinity';
  // All changes of a commit have the same.
  if (ts !== lastInstant) {
    lastText = `${timestampText(ts)}+00`;
    lastInstant = ts;
  }
  return lastText;
}

/** SQL that gives a timestamptz expression as microseconds in text, for `instantOf`. */
export function instantSql(expression: string): string {
  return `CASE WHEN isfinite(${expression}) THEN (extract(epoch FROM ${expression}) * 1000000)::bigint::text ELSE ${expression}::text END`;
}

export function instantOf(text: string): Micros {
  if (text === 'infinity') return Infinity;
  if (text === '-infinity') return -Infinity;
  const micros = Number(text);
  return Number.isSafeInteger(micros) ? micros : BigInt(text);
}
