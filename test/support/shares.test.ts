import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createChangeGenerator } from './change-generator.ts';
import { assertChangeShares } from './shares.ts';

describe('the shares of generated changes', () => {
  it('are enough of every sort in what the generator makes, whatever the seed', () => {
    for (const count of [600, 4000])
      for (let seed = 0; seed < 50; seed++) {
        const generator = createChangeGenerator({ seed, table: 'employees', keys: 200 });
        generator.next(count);
        assertChangeShares(generator.shares);
      }
  });

  const enough = { total: 20_000, late: 3400, deletes: 4600, reinserts: 2900, ties: 1100, duplicates: 1100 };
  for (const sort of Object.keys(enough).filter((name) => name !== 'total'))
    it(`are not where six are ${sort} among tens of thousands`, () => {
      assertChangeShares(enough);
      assert.throws(() => assertChangeShares({ ...enough, [sort]: 6 }), /^AssertionError.*only 6 /);
    });
});
