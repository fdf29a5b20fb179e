import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { describe, it } from 'node:test';
import { inTree, text } from './tree.ts';

const page = text('docs/OPERATIONS.md');
const documented = new Set([...page.matchAll(/`([A-Z][A-Z0-9_]+)`/g)].map((match) => match[1] ?? ''));
const sources = globSync('src/**/*.ts', { cwd: inTree('.') })
  // The local stack's own failures are told where they happen.
  .filter((file) => !file.startsWith('src/stack/'))
  .map((file) => text(file));

/** Codes that the sources give to errors of these classes, where they write them out. */
function codesOf(classes: string, verdicts: string): ReadonlySet<string> {
  const patterns = [
    new RegExp(`new (?:${classes})Error\\(\\s*(?:\\{|details\\()\\s*(?:code:\\s*)?'([A-Z_]+)'`, 'g'),
    new RegExp(`code: '([A-Z_]+)',\\s*(?:verdict|build): (?:${verdicts})\\b`, 'g'),
  ];
  const found = sources.flatMap((source) =>
    patterns.flatMap((pattern) => [...source.matchAll(pattern)].map((match) => match[1] ?? '')),
  );
  return new Set(found);
}

describe('docs/OPERATIONS.md', () => {
  it('names every reason to stop', () => {
    const stops = codesOf('Operator', 'operator');
    // Only a mistake of ours leads there.
    const ours = new Set(['DATABRICKS_CLOSED']);
    assert.ok(stops.size > 25, 'the codes were not found in the sources');
    assert.deepEqual([...stops].filter((code) => !documented.has(code) && !ours.has(code)).toSorted(), []);
  });

  it('names every reason to dead-letter', () => {
    const poison = codesOf('Poison', 'poison');
    assert.ok(poison.size > 5, 'the codes were not found in the sources');
    assert.deepEqual([...poison].filter((code) => !documented.has(code)).toSorted(), []);
  });

  it('names no code that does not exist', () => {
    const all = sources.join('\n');
    // Without an underscore it may be a word of SQL.
    const unknown = [...documented].filter(
      (code) => code.includes('_') && !code.startsWith('POSTGRES_') && !all.includes(`'${code}'`),
    );
    assert.deepEqual(unknown, []);
  });
});
