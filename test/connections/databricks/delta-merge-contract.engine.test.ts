import { after, before, describe } from 'node:test';
import type { MergeSink } from '../../../src/ports/merge-sink.ts';
import { mergeSinkContract, OWN, PEOPLE } from '../../support/merge-sink-contract.ts';
import { openMergeSite, type MergeSite } from './merge-sinks.ts';

let site: MergeSite;
before(async () => {
  site = await openMergeSite();
});
after(() => site?.close());

for (const way of ['inline', 'staged'] as const)
  describe(`Delta, rows ${way}, keeps the contract of a merge sink`, () => {
    // Each test has partitions and ids of its own in one table: another would cost it some ten statements.
    let table: string;
    let sink: MergeSink;
    let other: MergeSink;
    let tests = 0;
    before(async () => {
      table = await site.warehouse.table('id BIGINT, name STRING');
      await site.warehouse.sql(
        `ALTER TABLE ${table} ADD CONSTRAINT storable CHECK (name IS NULL OR name <> 'unstorable')`,
      );
      const options = way === 'inline' ? {} : { stagingVolume: site.volume, inlineBytes: 0 };
      sink = site.sink(table, PEOPLE, options);
      other = site.sink(table, PEOPLE, options);
    });

    mergeSinkContract(async () => {
      const first = OWN * tests++;
      return {
        sink,
        other,
        first,
        unstorable: 'unstorable',
        async stored() {
          const rows = await site.warehouse.sql(
            `SELECT id, name FROM ${table} WHERE id >= ${first} AND id < ${first + OWN} ORDER BY id`,
          );
          return new Map(rows.map(({ id, name }) => [Number(id), name as string | null]));
        },
      };
    });
  });
