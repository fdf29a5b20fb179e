import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MUTANTS } from './list.ts';
import { assertCaught } from './mutant.ts';

const LONGEST_MS = 120_000;
const ROOT = join(import.meta.dirname, '../..');

// Those that need engines run rarely: that the source has moved on must show sooner.
it('every mistake has its place in the source, once', () => {
  const lost = MUTANTS.filter(
    ({ file, find }) => readFileSync(join(ROOT, file), 'utf8').split(find).length !== 2,
  );
  assert.deepEqual(
    lost.map(({ promise, name }) => `${promise}: ${name}`),
    [],
  );
});

describe('with a mistake in the source: a service that', { concurrency: 2 }, () => {
  for (const mutant of MUTANTS.filter(({ caughtBy: [file] }) => !file.endsWith('.engine.test.ts')))
    it(`${mutant.name} is caught (${mutant.promise})`, { timeout: LONGEST_MS }, async ({ signal }) => {
      await assertCaught(mutant, signal);
    });
});
