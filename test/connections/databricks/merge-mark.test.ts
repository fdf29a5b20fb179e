import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { commitMark } from '../../../src/connections/databricks/commit-mark.ts';
import { isCovered, markText, parseMark, plainName } from '../../../src/connections/databricks/merge-mark.ts';

const offsets = new Map([
  [0, 1042n],
  [17, 9_007_199_254_740_993n],
]);

describe('the mark of a merge', () => {
  it('names the sink, the epoch and the next offsets', () => {
    assert.equal(
      markText('employees', { epoch: 3n, offsets }),
      'deltaferry/employees e3 0:1042,17:9007199254740993',
    );
  });

  // What is cut off or read as another's in the history would be merged a second time.
  for (const sink of ['employees', 'pg-2/hr.employees', `a b'c"d)(]e\\f`, 'größe', 'x e3 0:1'])
    it(`comes back whole from the condition of a commit: ${sink}`, () => {
      const text = markText(sink, { epoch: 3n, offsets });
      for (const predicate of [
        `["((id#231L = id#228L) AND (ferry#230 = ${text}))"]`,
        `["((t.id = s.id) AND (s.ferry = '${text}'))"]`,
      ])
        assert.equal(commitMark({ operation: 'MERGE', operationParameters: { predicate } }), text);
      assert.deepEqual(parseMark(sink, text), { epoch: 3n, offsets });
    });

  for (const text of [
    'deltaferry/other e3 0:1',
    'deltaferry/employees2 e3 0:1',
    'deltaferry/employees e3',
    'deltaferry/employees e3 0:1,',
    'deltaferry/employees 0:1',
    'deltaferry/verify employees',
  ])
    it(`is not read from ${text}`, () => assert.equal(parseMark('employees', text), null));

  it('is covered where no partition of it is ahead', () => {
    const mark = { epoch: 1n, offsets };
    assert.equal(isCovered(mark, new Map([...offsets, [3, 1n]])), true);
    assert.equal(isCovered(mark, new Map([[0, 1042n]])), false);
    assert.equal(
      isCovered(
        mark,
        new Map([
          [0, 1041n],
          [17, 1n << 60n],
        ]),
      ),
      false,
    );
  });

  it('a plain name has nothing that ends a text, a path or a name', () => {
    assert.match(plainName(`a'b"c)(*!~d/e f\\g]`), /^[\w.%-]+$/);
  });
});
