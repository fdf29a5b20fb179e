import assert from 'node:assert/strict';
import type { Micros } from '../../src/change/change.ts';
import { truthAt, type Told, type TrueVersion } from './oracle.ts';

/** One key's versions in order of time, and everything told about it in the order that counts at ties. */
export interface Outcome<Image> {
  readonly versions: readonly TrueVersion<Image>[];
  readonly told: readonly Told<Image>[];
}

export type Invariant = 'H1' | 'H2' | 'H3' | 'H5';

/** docs/SPEC.md's invariants of one key's history (H4 is about a column: see the engine tests). */
export const INVARIANTS: Record<Invariant, <Image>(outcome: Outcome<Image>) => void> = {
  /** At every instant the table says what the changes say. */
  H1({ versions, told }) {
    for (const instant of instants(told)) {
      const found = versions.filter(({ from, to }) => from <= instant && (to === null || instant < to));
      assert.deepEqual(found[0]?.image ?? null, truthAt(told, instant), `H1: at ${instant}`);
    }
  },

  /** At most one current version. */
  H2({ versions }) {
    assert.ok(versions.filter(({ to }) => to === null).length <= 1, 'H2: two current versions');
  },

  /** No overlap, nothing empty. */
  H3({ versions }) {
    versions.forEach(({ from, to }, index) => {
      assert.ok(to === null || from < to, `H3: the version at ${from} is empty`);
      const next = versions[index + 1];
      if (next !== undefined) assert.ok(to !== null && to <= next.from, `H3: overlap at ${next.from}`);
    });
  },

  /** Starts at an upsert, ends at the key's next change. */
  H5({ versions, told }) {
    for (const { from, to } of versions) {
      assert.ok(
        told.some((one) => one.ts === from && one.image !== null),
        `H5: nothing begins at ${from}`,
      );
      const next = told.reduce<Micros | null>(
        (least, { ts }) => (ts > from && (least === null || ts < least) ? ts : least),
        null,
      );
      assert.equal(to, next, `H5: the end of the version at ${from}`);
    }
  },
};

export function checkAll<Image>(outcome: Outcome<Image>): void {
  for (const check of Object.values(INVARIANTS)) check(outcome);
}

/** Each time told, just before and just after. */
function instants<Image>(told: readonly Told<Image>[]): Micros[] {
  return told.flatMap(({ ts }): Micros[] =>
    typeof ts === 'bigint' ? [ts - 1n, ts, ts + 1n] : [ts - 0.5, ts, ts + 0.5],
  );
}
