import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { TYPE_CASES } from './type-cases.ts';
import { typesDocument } from './types-document.ts';

test('docs/TYPES.md says what the code does', () => {
  const file = new URL('../../docs/TYPES.md', import.meta.url);
  assert.equal(
    unaligned(readFileSync(file, 'utf8')),
    unaligned(typesDocument()),
    'run: node test/change/generated.ts',
  );
});

test('every end that docs/TYPES.md shows is one that the tests send through', () => {
  for (const { type, extremes, accepted } of Object.values(TYPE_CASES)) {
    for (const text of extremes) {
      assert.ok(
        accepted.some(({ postgres }) => postgres === text),
        `${type}: ${text}`,
      );
    }
  }
});

/** The formatter aligns the tables of the file. */
function unaligned(markdown: string): string {
  return markdown.replaceAll(/ +/g, ' ').replaceAll(/-{3,}/g, '---');
}
