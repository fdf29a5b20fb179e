import assert from 'node:assert/strict';
import type { Shares } from './change-generator.ts';

/** There was enough of every sort for a mistake in it to show. */
export function assertShares(shares: Readonly<Record<string, number>>): void {
  for (const [sort, count] of Object.entries(shares)) assert.ok(count > 5, `only ${count} ${sort}`);
}

/** What each sort is of all changes at the least; some two thirds of what the generator gives a thousand of them. */
const LEAST: Readonly<Record<Exclude<keyof Shares, 'total'>, number>> = {
  late: 0.08,
  deletes: 0.12,
  reinserts: 0.04,
  ties: 0.02,
  duplicates: 0.02,
};

/** The same of changes that the generator made for a topic: a few of a sort among tens of thousands are not enough. */
export function assertChangeShares({ total, ...shares }: Readonly<Shares>): void {
  assertShares(shares);
  for (const [sort, least] of Object.entries(LEAST)) {
    const count = shares[sort as keyof typeof LEAST];
    assert.ok(count >= least * total, `only ${count} ${sort} of ${total} changes`);
  }
}
