import { describe, it } from 'node:test';
import { MUTANTS } from './list.ts';
import { assertCaught } from './mutant.ts';

const LONGEST_MS = 300_000;

describe('with a mistake that only the engines show: a service that', () => {
  for (const mutant of MUTANTS.filter(({ caughtBy: [file] }) => file.endsWith('.engine.test.ts')))
    it(`${mutant.name} is caught (${mutant.promise})`, { timeout: LONGEST_MS }, async ({ signal }) => {
      await assertCaught(mutant, signal);
    });
});
