import assert from 'node:assert/strict';

/** There was enough of every sort for a mistake in it to show. */
export function assertShares(shares: Readonly<Record<string, number>>): void {
  for (const [sort, count] of Object.entries(shares)) assert.ok(count > 5, `only ${count} ${sort}`);
}
