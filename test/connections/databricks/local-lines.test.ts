import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { linesOf, type SomeLines } from '../../../src/connections/databricks/local-lines.ts';
import { collected } from '../../support/collected.ts';

const folder = mkdtempSync(join(tmpdir(), 'deltaferry-lines-'));
after(() => rmSync(folder, { recursive: true, force: true }));

async function parts(content: string, bytes: number, from = 0): Promise<SomeLines[]> {
  const file = join(folder, 'lines');
  writeFileSync(file, content);
  return await collected(linesOf(file, from, bytes));
}

describe('the lines of a file', () => {
  const content = ['a', 'Zürich 😀', '', 'x'.repeat(100), 'b', 'é'].map((line) => `${line}\n`).join('');

  it('come whole and in order, whatever is held at a time, and go on from each place', async () => {
    for (let bytes = 1; bytes <= 130; bytes++) {
      const found = await parts(content, bytes);
      assert.equal(found.map(({ text }) => text).join(''), content, `${bytes} bytes`);
      assert.ok(found.every(({ text }) => text.endsWith('\n')));
      assert.deepEqual(
        found.map(({ next }) => next === null),
        found.map((_, index) => index === found.length - 1),
      );
      for (const [index, { next }] of found.entries())
        if (next !== null)
          assert.equal(
            (await parts(content, bytes, next)).map(({ text }) => text).join(''),
            found
              .slice(index + 1)
              .map(({ text }) => text)
              .join(''),
          );
    }
  });

  it('are held as few at a time as fit, or as twice the widest takes', async () => {
    const widest = 101;
    for (let bytes = 1; bytes <= 300; bytes++)
      for (const { text } of await parts(content.repeat(3), bytes))
        assert.ok(Buffer.byteLength(text) <= Math.max(bytes, 2 * widest), `${bytes} bytes`);
    assert.deepEqual(
      (await parts(content, 40)).map(({ text }) => text.length),
      ['a\nZürich 😀\n\n'.length, `${'x'.repeat(100)}\nb\né\n`.length],
    );
  });

  it('may lack the end of the last one, and be none', async () => {
    assert.deepEqual(await parts('a\nb', 2), [
      { text: 'a\n', next: 2 },
      { text: 'b', next: null },
    ]);
    assert.deepEqual(await parts('', 2), [{ text: '', next: null }]);
  });
});
