import { after, before, describe } from 'node:test';
import { mergeSinkContract, PEOPLE } from '../../support/merge-sink-contract.ts';
import { openMergeSite, type MergeSite } from './merge-sinks.ts';

let site: MergeSite;
before(async () => {
  site = await openMergeSite();
});
after(() => site?.close());

for (const way of ['inline', 'staged'] as const)
  describe(`Delta, rows ${way}, keeps the contract of a merge sink`, () => {
    mergeSinkContract(async () => {
      const table = await site.warehouse.table('id BIGINT, name STRING');
      await site.warehouse.sql(
        `ALTER TABLE ${table} ADD CONSTRAINT storable CHECK (name IS NULL OR name <> 'unstorable')`,
      );
      const options = way === 'inline' ? {} : { stagingVolume: site.volume, inlineBytes: 0 };
      return {
        sink: site.sink(table, PEOPLE, options),
        other: site.sink(table, PEOPLE, options),
        unstorable: 'unstorable',
        async stored() {
          const rows = await site.warehouse.sql(`SELECT id, name FROM ${table} ORDER BY id`);
          return new Map(rows.map(({ id, name }) => [Number(id), name as string | null]));
        },
      };
    });
  });
