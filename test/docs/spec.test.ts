import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { inTree, text } from './tree.ts';

interface Promised {
  readonly id: string;
  readonly words: string;
  readonly tests: readonly { readonly file: string; readonly title: string }[];
}

const HELD_BY = /^- `(test\/[^`]+)` › (.+)$/gm;

/** The numbered promises of docs/SPEC.md with the tests under them. */
function promises(): readonly Promised[] {
  const sections =
    text('docs/SPEC.md')
      .split(/^## What to know/m)[0]
      ?.split(/^(?=\*\*[A-Z]\d+\*\*)/m)
      .slice(1) ?? [];
  return sections.map((section) => ({
    id: /^\*\*([A-Z]\d+)\*\*/.exec(section)?.[1] ?? '',
    words: section
      .replace(HELD_BY, '')
      .replace(/^## .*$/m, '')
      .trim(),
    tests: [...section.matchAll(HELD_BY)].map(([, file = '', title = '']) => ({ file, title })),
  }));
}

/** Whether a file names a test so; `…` stands for what a table of cases fills in. */
function hasTest(source: string, title: string): boolean {
  const literal = title.split('…').map(escaped).join('\\$\\{[^`]+\\}');
  return new RegExp(`(['"\`])${literal}\\1`).test(source);
}

function escaped(part: string): string {
  return part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll("'", String.raw`\\?'`);
}

describe('docs/SPEC.md', () => {
  it('numbers its promises without a gap', () => {
    const ids = promises().map(({ id }) => id);
    const groups = Map.groupBy(ids, (id) => id.charAt(0));
    assert.deepEqual([...groups.keys()], ['H', 'D', 'C', 'P', 'M', 'E', 'B', 'S']);
    for (const [group, members] of groups)
      assert.deepEqual(
        members,
        members.map((_, at) => `${group}${at + 1}`),
      );
  });

  for (const { id, words, tests } of promises())
    it(`${id} names tests that exist`, () => {
      assert.ok(words.length > 40, `${id} promises nothing`);
      assert.ok(tests.length > 0, `${id} names no test`);
      for (const { file, title } of tests) {
        assert.ok(existsSync(inTree(file)), `${id}: there is no ${file}`);
        assert.ok(hasTest(text(file), title), `${id}: ${file} has no test "${title}"`);
      }
    });

  it('names tests by their exact titles', () => {
    assert.ok(hasTest("it('a b', () => {", 'a b'));
    assert.ok(hasTest('it(`a ${name}: b`, () => {', 'a …: b'));
    assert.ok(hasTest(String.raw`it('it\'s', () => {`, "it's"));
    assert.ok(!hasTest("it('a b c', () => {", 'a b'));
    assert.ok(!hasTest("it('a b', () => {", 'a.b'));
  });
});
