import { describe, it } from 'node:test';
import { MUTANTS } from './list.ts';
import { assertCaught } from './mutant.ts';

const LONGEST_MS = 120_000;

// Some wait, idle, for what does not come.
describe('with a mistake in the source: a service that', { concurrency: 4 }, () => {
  for (const mutant of MUTANTS.filter(({ caughtBy: [file] }) => !file.endsWith('.engine.test.ts')))
    it(`${mutant.name} is caught (${mutant.promise})`, { timeout: LONGEST_MS }, async ({ signal }) => {
      await assertCaught(mutant, signal);
    });
});
