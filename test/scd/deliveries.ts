import fc from 'fast-check';
import type { Told } from './oracle.ts';

/** One key's life and the way it reaches the sink. */
export interface Delivery {
  /** Versions and deletes that were there before (people's, or applied long ago). */
  readonly before: readonly Told<string>[];
  /** Batches in partition order. */
  readonly batches: readonly (readonly Told<string>[])[];
}

const ts = fc.integer({ min: 1, max: 14 });
const told: fc.Arbitrary<Told<string>> = fc.record({
  ts,
  image: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('A', 'B', 'C') },
    { weight: 2, arbitrary: fc.constant(null) },
  ),
});
const batching = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 12 });

/** Distinct times, any order, any duplicates, any batching. */
export const anyOrder: fc.Arbitrary<Delivery> = fc
  .uniqueArray(told, { selector: (one) => one.ts, minLength: 1, maxLength: 10 })
  .chain((life) =>
    fc.record({
      cut: fc.integer({ min: 0, max: Math.min(4, life.length - 1) }),
      again: fc.array(fc.nat(life.length - 1), { maxLength: 4 }),
      order: fc.array(fc.nat(), { minLength: life.length + 4, maxLength: life.length + 4 }),
      batching,
      life: fc.constant(life),
    }),
  )
  .map(({ life, cut, again, order, batching: sizes }) => {
    const before = life.slice(0, cut);
    const sent = [...life.slice(cut), ...again.flatMap((index) => life[index] ?? [])];
    const shuffled = sent.map((one, index) => ({ one, rank: order[index] ?? 0 }));
    shuffled.sort((a, b) => a.rank - b.rank);
    return {
      before,
      batches: batched(
        shuffled.map(({ one }) => one),
        sizes,
      ),
    };
  });

/** Times may be equal: then the order of the partition decides, so nothing is sent twice. */
export const withTies: fc.Arbitrary<Delivery> = fc
  .record({
    before: fc.uniqueArray(told, { selector: (one) => one.ts, maxLength: 3 }),
    sent: fc.array(told, { minLength: 1, maxLength: 12 }),
    batching,
  })
  .map(({ before, sent, batching: sizes }) => ({ before, batches: batched(sent, sizes) }));

function batched<T>(items: readonly T[], sizes: readonly number[]): T[][] {
  const batches: T[][] = [];
  for (let at = 0, turn = 0; at < items.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    batches.push(items.slice(at, at + size));
    at += size;
  }
  return batches;
}

export const SITUATIONS = ['late', 'delete', 'reinsert', 'duplicate', 'deleteFirst', 'tie'] as const;
export type Situation = (typeof SITUATIONS)[number];

/** Counts what deliveries contain, so that a generator that stopped producing it is noticed. */
export class Shares {
  deliveries = 0;
  readonly #seen = new Map<Situation, number>();

  note(delivery: Delivery): void {
    this.deliveries++;
    for (const situation of situationsOf(delivery))
      this.#seen.set(situation, (this.#seen.get(situation) ?? 0) + 1);
  }

  /** Share of deliveries in which it happened. */
  of(situation: Situation): number {
    return (this.#seen.get(situation) ?? 0) / this.deliveries;
  }
}

function situationsOf({ before, batches }: Delivery): Set<Situation> {
  const found = new Set<Situation>();
  const known: Told<string>[] = [...before];
  const first = batches[0]?.[0];
  if (before.length === 0 && first?.image === null) found.add('deleteFirst');
  for (const one of batches.flat()) {
    const equal = known.find((other) => other.ts === one.ts);
    if (equal !== undefined) found.add(equal.image === one.image ? 'duplicate' : 'tie');
    else if (known.some((other) => other.ts > one.ts)) found.add('late');
    if (one.image === null) found.add('delete');
    else if (known.some((other) => other.image === null && other.ts < one.ts)) found.add('reinsert');
    known.push(one);
  }
  return found;
}
