import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrayText } from '../../../src/connections/postgres/array-text.ts';

// With real Postgres, keys of any characters: history-shapes.engine.test.ts.
test('texts become an array literal that Postgres reads back', () => {
  assert.equal(arrayText([]), '{}');
  assert.equal(arrayText(['1', '-2']), '{"1","-2"}');
  assert.equal(arrayText(['', 'NULL', ' a,{b} ']), '{"","NULL"," a,{b} "}');
  assert.equal(arrayText([String.raw`a"b`, String.raw`\x00`]), String.raw`{"a\"b","\\x00"}`);
});
