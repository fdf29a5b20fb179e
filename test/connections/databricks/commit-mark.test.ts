import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { commitMark, type HistoryRow } from '../../../src/connections/databricks/commit-mark.ts';

const merge = (predicate: string): HistoryRow => ({ operation: 'MERGE', operationParameters: { predicate } });

const cases: readonly { name: string; row: HistoryRow; expected: string | null }[] = [
  {
    name: 'as open-source Spark writes the condition',
    row: merge('["((id#231L = id#228L) AND (ferry#230 = deltaferry/employees 0:1042,1:977))"]'),
    expected: 'deltaferry/employees 0:1042,1:977',
  },
  {
    name: 'as a quoted literal',
    row: merge(`["((t.id = s.id) AND (s.ferry = 'deltaferry/employees 0:1042'))"]`),
    expected: 'deltaferry/employees 0:1042',
  },
  {
    name: 'parameters as JSON text',
    row: {
      operation: 'MERGE',
      operationParameters: '{"predicate":"[\\"(ferry = \'deltaferry/e 0:1\')\\"]"}',
    },
    expected: 'deltaferry/e 0:1',
  },
  {
    name: 'parameters as a map',
    row: { operation: 'MERGE', operationParameters: new Map([['predicate', "ferry = 'deltaferry/e 0:1'"]]) },
    expected: 'deltaferry/e 0:1',
  },
  {
    name: 'user metadata, of any command',
    row: { operation: 'WRITE', operationParameters: {}, userMetadata: 'deltaferry/verify employees' },
    expected: 'deltaferry/verify employees',
  },
  { name: 'somebody else’s MERGE', row: merge('["(id = id)"]'), expected: null },
  {
    // Otherwise a user who filters by such a text would lose the commit.
    name: 'a value in the condition of an UPDATE',
    row: { operation: 'UPDATE', operationParameters: { predicate: "note = 'deltaferry/e 0:1'" } },
    expected: null,
  },
  {
    name: 'nothing at all',
    row: { operation: 'OPTIMIZE', operationParameters: null, userMetadata: null },
    expected: null,
  },
];

describe('the mark of a commit', () => {
  for (const { name, row, expected } of cases) it(name, () => assert.equal(commitMark(row), expected));
});
