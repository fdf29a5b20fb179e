import type { Change } from '../../src/change/change.ts';

/** How many rows of a load had been published before a commit and behind it. */
export interface Span {
  readonly version: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Of what was changed while a load went on: how much of each sort, and of which rows. What is acknowledged had been
 * read; what comes so many rows behind that, and more, had not. `published`: the load's keys in that order.
 */
export function loadShares(
  changes: readonly Change[],
  spans: readonly Span[],
  published: readonly string[],
  mostAhead: number,
): Record<'inserts' | 'updates' | 'deletes' | 'of rows already read' | 'of rows not yet read', number> {
  const places = new Map(published.map((key, place) => [key, place]));
  const spanOf = new Map(spans.map((span) => [span.version, span]));
  const shares = {
    inserts: 0,
    updates: 0,
    deletes: 0,
    'of rows already read': 0,
    'of rows not yet read': 0,
  };
  for (const { op, key, position } of changes) {
    shares[op === 'insert' ? 'inserts' : op === 'delete' ? 'deletes' : 'updates'] += 1;
    const place = places.get(key);
    const span = spanOf.get(Number(position));
    if (place === undefined || span === undefined) continue;
    if (place < span.from) shares['of rows already read'] += 1;
    if (place >= span.to + mostAhead) shares['of rows not yet read'] += 1;
  }
  return shares;
}
