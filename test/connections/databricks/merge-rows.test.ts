import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Change, Value } from '../../../src/change/change.ts';
import { keyOf } from '../../../src/change/key.ts';
import { parseColumnType } from '../../../src/change/types.ts';
import { mergeLine } from '../../../src/connections/databricks/merge-rows.ts';
import { BugError, PoisonError } from '../../../src/errors.ts';
import { TYPE_CASES } from '../../change/type-cases.ts';
import { parseExchange } from '../../../src/change/types.ts';
import { upsert } from './merge-sinks.ts';

const MAPPING = {
  name: 'odd',
  key: ['b', 'a'],
  columns: [
    { name: 'a', type: { name: 'bigint' } },
    { name: 'note', type: { name: 'text' } },
    { name: 'b', type: { name: 'text' } },
  ],
} as const;
const line = mergeLine(MAPPING);
const gone = (row: Change['before']): Change => ({
  ...upsert('k', null),
  op: 'delete',
  before: row,
});

describe('a change as a line', () => {
  it('has each value as text, and leaves out nulls', () => {
    assert.equal(line(upsert('k', [7, 'x', 'y'])), '{"c0":"7","c1":"x","c2":"y"}');
    assert.equal(line(upsert('k', [2n ** 63n - 1n, null, ''])), '{"c0":"9223372036854775807","c2":""}');
  });

  it('of a delete has the key and nothing else', () => {
    assert.equal(line(gone([7, 'x', 'y'])), '{"d":"1","c2":"y","c0":"7"}');
  });

  // A row that Delta cannot hold is no change; its end is one all the same, and has no row to tell.
  it('of a delete without its row has the key that its record has, of every type', () => {
    const rows: readonly (readonly [type: string, value: Value])[] = [
      ['bigint', 9_007_199_254_740_993n],
      ['integer', -7],
      ['text', 'Ä "b"\\'],
      ['varchar(9)', ''],
      ['date', -719_162],
      ['uuid', '6f1c0b1e-0000-4000-8000-00000000000a'],
    ];
    const columns = rows.map(([type], at) => ({ name: `k${at}`, type: parseColumnType(type) }));
    for (const key of [columns.map(({ name }) => name), ...columns.map(({ name }) => [name])]) {
      const mapping = { name: 'keys', key, columns };
      const row = rows.map(([, value]) => value);
      const known = { ...gone(row), key: keyOf(mapping)(row) };
      assert.equal(mergeLine(mapping)({ ...known, before: null }), mergeLine(mapping)(known), key.join());
    }
  });

  it('of a delete whose key is none of this table is refused as it is: others go on', () => {
    for (const key of ['k', '["x"]', '["x","no number"]'])
      assert.throws(() => line({ ...gone(null), key }), PoisonError);
  });

  it('is one line, whatever is in the values', () => {
    const text = 'a\nb\r\n\t"c"\\ \u2028\u0001 {} 👩‍🚀';
    const made = line(upsert('k', [1, text, 'y']));
    assert.doesNotMatch(made, /[\r\n]/);
    assert.equal((JSON.parse(made) as { c1: string }).c1, text);
  });

  it('without the row for it is our mistake, and said to be', () => {
    for (const change of [upsert('k', null), { ...gone([1, 'x', 'y']), after: [1, 'x', 'y'] }])
      assert.throws(() => line(change), BugError);
    assert.throws(() => line(upsert('k', ['not a number', 'x', 'y'])), BugError);
  });

  it('has the exchange text of every value of every type, so that its reader gets the same value', () => {
    for (const { type, accepted } of Object.values(TYPE_CASES)) {
      const parsed = parseColumnType(type);
      const one = mergeLine({ name: 'one', key: [], columns: [{ name: 'v', type: parsed }] });
      for (const { exchange } of accepted) {
        const value = parseExchange(parsed, exchange);
        const { c0 } = JSON.parse(one(upsert('k', [value]))) as { c0: string };
        assert.deepEqual(parseExchange(parsed, c0), value, `${type} ${exchange}`);
      }
    }
  });
});
