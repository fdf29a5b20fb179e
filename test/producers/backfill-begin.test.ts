import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TransientError } from '../../src/errors.ts';
import type { Load, NewLoad } from '../../src/ports/load.ts';
import { runBackfill } from '../../src/producers/backfill.ts';
import { beginningDeps, begunLoad, ENOUGH } from './beginning.ts';

const signal = AbortSignal.timeout(10_000);
const transient = (code: string): TransientError => new TransientError({ code, message: code });

describe('a load whose beginning failed for a moment', () => {
  for (const [what, code, stored] of [
    ['goes on where only the answer was lost: consumers wait for it already', 'COMMIT_UNKNOWN', true],
    ['begins at the next attempt where it had not begun', 'POSTGRES_BUSY', false],
  ] as const)
    it(what, async () => {
      const begun: Load[] = [];
      const pinned: string[] = [];
      const troubles: unknown[] = [];
      let failed = false;
      const deps = beginningDeps({
        onRetry: (error) => troubles.push(error),
        loads: {
          newest: async () => begun.at(-1) ?? null,
          async begin({ id }: NewLoad) {
            if (failed || stored) begun.push(begunLoad(id));
            if (failed) return begun.at(-1);
            failed = true;
            throw transient(code);
          },
          async pinned(id: string) {
            pinned.push(id);
            throw ENOUGH;
          },
        },
      });
      await assert.rejects(runBackfill(deps, 'new', signal), ENOUGH);
      assert.deepEqual([begun.map(({ id }) => id), pinned], [['load-1'], ['load-1']]);
      assert.equal(troubles.length, stored ? 0 : 1);
    });
});
