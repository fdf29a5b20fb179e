// What the protocol rests on, tried on the engine itself: were one of these to change, a statement of a process
// that no longer owns the table could land.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { openDatabricks, type Databricks } from '../../../src/connections/databricks/client.ts';
import { createEpochFence, epochsTableOf } from '../../../src/connections/databricks/merge-epoch.ts';
import { createMergeHistory } from '../../../src/connections/databricks/merge-history.ts';
import { markText } from '../../../src/connections/databricks/merge-mark.ts';
import { mergeSql } from '../../../src/connections/databricks/merge-sql.ts';
import { PEOPLE } from '../../support/merge-sink-contract.ts';
import { testStack } from '../../support/stack.ts';
import { openMergeSite, type MergeSite } from './merge-sinks.ts';
import { slowMerges } from './slow-merges.ts';

let site: MergeSite;
/** A session of its own: the merge of another process. */
let other: Databricks;
before(async () => {
  site = await openMergeSite();
  other = openDatabricks(testStack().databricks);
});
after(async () => {
  await other?.close();
  await site?.close();
});

interface Target {
  readonly table: string;
  readonly fence: ReturnType<typeof createEpochFence>;
  merge(client: Databricks, epoch: bigint, name: string, mark?: string): Promise<bigint>;
  names(): Promise<unknown[]>;
  versions(): Promise<number>;
}

async function target(): Promise<Target> {
  const { warehouse } = site;
  const table = await warehouse.table('id BIGINT, name STRING');
  await warehouse.sql(`INSERT INTO ${table} VALUES (1, 'old')`);
  const sql = mergeSql({ mapping: PEOPLE, table, epochs: epochsTableOf(table) }, null);
  const fence = createEpochFence(warehouse.client, table, table);
  await fence.set(0n);
  return {
    table,
    fence,
    async merge(client, epoch, name, mark = `deltaferry/x e${epoch} 0:1`) {
      const rows = `[{"c0":"1","c1":"${name}"}]`;
      const params = { rows, epoch, sink: table, ferry: mark };
      const [row] = await client.query({ sql, params, doing: 'merging', table });
      return row?.['num_affected_rows'] as bigint;
    },
    async names() {
      return (await warehouse.sql(`SELECT name FROM ${table} ORDER BY name`)).map(({ name }) => name);
    },
    async versions() {
      return (await warehouse.sql(`DESCRIBE HISTORY ${table}`)).length;
    },
  };
}

describe('a MERGE of an older epoch', () => {
  it('that is running when the epoch is closed fails, and changes nothing', async () => {
    const { fence, merge, names } = await target();
    const slow = slowMerges(other, site.warehouse);
    const running = merge(slow.client, 0n, 'late');
    running.catch(() => {});
    await slow.running();
    await fence.close(1n);
    await assert.rejects(running, { code: 'DELTA_CONFLICT', kind: 'transient', message: /METADATA_CHANGED/ });
    assert.deepEqual(await names(), ['old']);
  });

  // Delta looks for conflicts in the target alone: hence the change of its properties.
  it('would land if only the table of epochs were changed', async () => {
    const { fence, merge, names } = await target();
    const slow = slowMerges(other, site.warehouse);
    const running = merge(slow.client, 0n, 'late');
    running.catch(() => {});
    await slow.running();
    await fence.set(1n);
    assert.equal(await running, 1n);
    assert.deepEqual(await names(), ['late']);
  });

  it('that begins after the epoch was closed changes nothing and commits nothing', async () => {
    const { fence, merge, names, versions } = await target();
    await fence.close(1n);
    const commits = await versions();
    assert.equal(await merge(other, 0n, 'late'), 0n);
    assert.deepEqual([await names(), await versions()], [['old'], commits]);
    assert.equal(await merge(other, 1n, 'new'), 1n);
    assert.deepEqual(await names(), ['new']);
  });

  it('has no row to rely on before any epoch was set', async () => {
    const { table, names } = await target();
    const epochs = epochsTableOf(table);
    await site.warehouse.sql(`DELETE FROM ${epochs} WHERE sink = '${table}'`);
    const fence = createEpochFence(site.warehouse.client, table, table);
    assert.equal(await fence.read(), null);
    assert.deepEqual(await names(), ['old']);
  });
});

describe('the epoch', () => {
  it('never goes back', async () => {
    const { fence } = await target();
    await fence.close(5n);
    await fence.set(3n);
    assert.equal(await fence.read(), 5n);
  });

  it('can be advanced for many tables of a schema at once', async () => {
    const targets = await Promise.all([target(), target()]);
    await Promise.all(targets.map(({ fence }) => fence.close(2n)));
    assert.deepEqual(await Promise.all(targets.map(({ fence }) => fence.read())), [2n, 2n]);
  });
});

describe('the mark', () => {
  it('is in the commit to its last character, also of 96 partitions, given as a parameter', async () => {
    const { table, merge } = await target();
    const offsets = new Map(Array.from({ length: 96 }, (_, n) => [n, 10n ** 12n + BigInt(n)]));
    const mark = markText(table, { epoch: 0n, offsets });
    assert.ok(mark.length > 1_500);
    assert.equal(await merge(other, 0n, 'new', mark), 1n);
    const history = createMergeHistory(site.warehouse.client, table, table);
    await history.mustShow(mark);
    const ledger = { epoch: 0n, pending: null, offsets: new Map<number, bigint>() };
    assert.deepEqual(await history.unknownTo(ledger), offsets);
  });
});
