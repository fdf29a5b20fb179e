import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Value } from '../../src/change/change.ts';
import { checkKeyColumns, keyColumnTexts, keyOf } from '../../src/change/key.ts';
import { columnTypeText, formatPostgres, parseColumnType, parseExchange } from '../../src/change/types.ts';
import { PoisonError, UsageError } from '../../src/errors.ts';
import { exchangeTexts } from './exchange-texts.ts';
import { EMPLOYEES, table } from './fixtures.ts';
import { TYPE_CASES } from './type-cases.ts';

/** These bytes lie on topics and in control tables: another text would move keys between partitions. */
const STABLE: readonly (readonly [
  columns: Readonly<Record<string, string>>,
  row: readonly Value[],
  key: string,
])[] = [
  [{ id: 'bigint' }, [0], '0'],
  [{ id: 'bigint' }, [-1], '-1'],
  [{ id: 'bigint' }, [9_223_372_036_854_775_807n], '9223372036854775807'],
  [{ id: 'integer' }, [2_147_483_647], '2147483647'],
  [{ id: 'smallint' }, [-32_768], '-32768'],
  [{ id: 'text' }, [''], ''],
  [{ id: 'text' }, ['["a"]'], '["a"]'],
  [{ id: 'text' }, ['Zoë 👩‍🚀'], 'Zoë 👩‍🚀'],
  [{ id: 'varchar(3)' }, ['a b'], 'a b'],
  [{ id: 'uuid' }, ['01234567-89ab-cdef-0123-456789abcdef'], '01234567-89ab-cdef-0123-456789abcdef'],
  [{ id: 'date' }, [0], '1970-01-01'],
  [{ id: 'date' }, [-719_162], '0001-01-01'],
  [{ id: 'bigint', day: 'date' }, [7, 19_000], '["7","2022-01-08"]'],
  [
    { id: 'text', n: 'smallint' },
    ['a"b\\c\n é \u{1d4b3}\u2028', 1],
    '["a\\"b\\\\c\\n é \u{1d4b3}\u2028","1"]',
  ],
];

test('keys have one text each, which never changes', () => {
  for (const [columns, row, key] of STABLE) {
    const mapping = table('t', Object.keys(columns), { ...columns, other: 'text' });
    checkKeyColumns(mapping);
    assert.equal(keyOf(mapping)([...row, 'x']), key);
    const texts = keyColumnTexts(key, mapping);
    const formatted = row.map((value, index) =>
      formatPostgres(parseColumnType(Object.values(columns)[index] as string), value as string),
    );
    assert.deepEqual(texts, formatted);
  }
});

test('key columns are taken in the order of the key, wherever they stand in the row', () => {
  const mapping = table('t', ['b', 'a'], { a: 'integer', x: 'text', b: 'text' });
  assert.equal(keyOf(mapping)([1, null, 'one']), '["one","1"]');
});

test('property: different keys have different texts, and a text splits back into its columns', () => {
  const mapping = table('t', ['a', 'b'], { a: 'text', b: 'varchar(5)' });
  const key = keyOf(mapping);
  const rows = fc.tuple(exchangeTexts({ name: 'text' }), exchangeTexts({ name: 'varchar', length: 5 }));
  fc.assert(
    fc.property(rows, rows, (one, other) => {
      assert.deepEqual(keyColumnTexts(key(one), mapping), one);
      assert.equal(Buffer.from(key(one)).toString(), key(one));
      assert.equal(key(one) === key(other), one[0] === other[0] && one[1] === other[1]);
    }),
  );
});

test('a null in a key is poison that names table and column', () => {
  const mapping = table('orders', ['a', 'b'], { a: 'text', b: 'date' });
  assert.throws(
    () => keyOf(mapping)(['x', null]),
    (error) =>
      error instanceof PoisonError && error.code === 'KEY_MISSING' && /orders.*column b/.test(error.message),
  );
});

test('a composite key text that is none is poison, not a wrong split', () => {
  const mapping = table('orders', ['a', 'b'], { a: 'text', b: 'date' });
  for (const text of ['', 'x', '["x"]', '["x",1]', '["x","y","z"]', '{"a":"x"}', 'null']) {
    assert.throws(() => keyColumnTexts(text, mapping), { code: 'KEY_INVALID' }, text);
  }
});

test('only types with one text on both engines may be keys', () => {
  const allowed = new Set(['bigint', 'integer', 'smallint', 'text', 'varchar', 'uuid', 'date']);
  for (const [name, { type }] of Object.entries(TYPE_CASES)) {
    const mapping = table('t', ['id'], { id: type });
    if (allowed.has(name)) checkKeyColumns(mapping);
    else {
      assert.throws(
        () => checkKeyColumns(mapping),
        (error) =>
          error instanceof UsageError &&
          error.message.includes(`column id is ${columnTypeText(parseColumnType(type))}`) &&
          error.message.includes('bigint, integer, smallint, text, varchar, uuid, date'),
        name,
      );
    }
  }
});

test('a key that is empty, absent or named twice is refused with the column named', () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /at least one key column/],
    [['nobody'], /column nobody is not among/],
    [['emp_id', 'emp_id'], /column emp_id is named twice/],
  ];
  for (const [key, message] of wrong) {
    assert.throws(
      () => checkKeyColumns({ ...EMPLOYEES, key }),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  }
});

test('property: the exchange text of every key type leads to the same key text twice', () => {
  for (const type of ['bigint', 'integer', 'smallint', 'uuid', 'date'].map(parseColumnType)) {
    const mapping = table('t', ['id'], { id: columnTypeText(type) });
    fc.assert(
      fc.property(exchangeTexts(type), (text) => {
        const key = keyOf(mapping)([parseExchange(type, text)]);
        assert.equal(keyOf(mapping)([parseExchange(type, text.toUpperCase())]), key);
      }),
      { numRuns: 50 },
    );
  }
});
