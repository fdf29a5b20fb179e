import assert from 'node:assert/strict';
import type { Plan } from '../../src/setup/plan.ts';

/** `kind what: detail` of every step. */
export function texts(plan: Plan): readonly string[] {
  return plan.map(({ kind, what, detail }) => `${kind} ${what}: ${detail}`);
}

/** Each step against the text or pattern in its place. */
export function expectTexts(plan: Plan, expected: readonly (string | RegExp)[]): void {
  const found = texts(plan);
  assert.equal(found.length, expected.length, found.join('\n'));
  for (const [at, pattern] of expected.entries())
    if (typeof pattern === 'string') assert.equal(found[at], pattern);
    else assert.match(found[at] ?? '', pattern);
}
