import type { Change } from '../../src/change/change.ts';
import { seededRandom } from './change-generator.ts';
import { capturedChange } from './merge-table.ts';

/** Changes as they come from Postgres, and what Delta must hold after them. */
export interface CapturedChanges {
  /** Of a few keys changed again and again, and of some that are inserted now and never changed again. */
  next(): Change[];
  /** id → name. */
  readonly expected: Map<number, string>;
  readonly total: number;
}

/** Keys from here on are changed once. */
export const FIRST_ONCE = 100_000;
const CHANGES = 50;
const ONCE = 8;

export function capturedChanges(seed: number, keys: number): CapturedChanges {
  const random = seededRandom(seed);
  const expected = new Map<number, string>();
  let total = 0;
  let once = FIRST_ONCE;

  function one(): Change {
    const id = 1 + Math.floor(random() * keys);
    const name = `change ${++total}`;
    const was = expected.has(id);
    if (was && random() < 0.2) {
      expected.delete(id);
      return capturedChange(id, { op: 'delete' });
    }
    expected.set(id, name);
    return capturedChange(id, { op: was ? 'update' : 'insert', name });
  }

  function newOne(): Change {
    const id = once++;
    total += 1;
    expected.set(id, `once ${id}`);
    return capturedChange(id, { name: `once ${id}` });
  }

  return {
    next: () => [...Array.from({ length: CHANGES }, one), ...Array.from({ length: ONCE }, newOne)],
    expected,
    get total() {
      return total;
    },
  };
}
