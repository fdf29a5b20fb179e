import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { OperatorError } from '../../../src/errors.ts';
import { checkComplete } from '../../../src/connections/postgres/load-refusals.ts';
import type { Load } from '../../../src/ports/load.ts';

describe('rows of a load that are missing', () => {
  for (const [source, table] of [
    ['delta', 'Delta table'],
    ['topic', 'Delta table'],
    ['postgres', 'table in Postgres'],
  ] as const)
    it(`from ${source} may have been deleted, or be rows of one key of which compaction left one`, () => {
      const load = { id: 'l', name: 'employees', topic: 't', source, publishedRows: 3 } as Load;
      checkComplete(load, 3);
      assert.throws(
        () => checkComplete(load, 2),
        ({ code, remedy = '' }: OperatorError) => {
          assert.equal(code, 'LOAD_INCOMPLETE');
          assert.match(remedy, /something deletes records of t /);
          assert.ok(remedy.includes(`the ${table} has several rows of one key`), remedy);
          return true;
        },
      );
    });
});
