import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { MUTANTS } from './list.ts';

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
