import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { MUTANTS } from '../mutants/list.ts';
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

/** The others have mutants beside their tests, where they have any. */
const SHOWN_TO_HOLD = /^(H[46]|[DCPMEBS]\d+)$/;

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

  for (const { id, tests } of promises().filter(({ id }) => SHOWN_TO_HOLD.test(id)))
    it(`${id} is held by a test that is shown to notice a mistake`, () => {
      const mutants = MUTANTS.filter(({ promise }) => promise === id);
      assert.ok(mutants.length > 0, `no mutant of test/mutants breaks ${id}`);
      for (const { name, caughtBy } of mutants)
        assert.ok(
          tests.some(({ file }) => file === caughtBy[0]),
          `${id} does not name ${caughtBy[0]}, which catches a service that ${name}`,
        );
    });
});
