import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Change } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { FencedError, PoisonError } from '../../src/errors.ts';
import type { MergePart, MergeSink } from '../../src/ports/merge-sink.ts';

/** What every table of the contract holds. */
export const PEOPLE: TableMapping = {
  name: 'people',
  key: ['id'],
  columns: [
    { name: 'id', type: { name: 'bigint' } },
    { name: 'name', type: { name: 'text' } },
  ],
};

export interface MergeSinkUnderTest {
  readonly sink: MergeSink;
  /** Another replica's sink of the same table and group. */
  readonly other: MergeSink;
  /** What the table holds: id → name. */
  readonly stored: () => Promise<ReadonlyMap<number, string | null>>;
  /** A name that it can never store. */
  readonly unstorable: string;
}

/** A change of the table `PEOPLE`; without a name a delete. */
export function personChange(id: number, name?: string | null, op: Change['op'] = 'update'): Change {
  const gone = name === undefined;
  return {
    op: gone ? 'delete' : op,
    key: String(id),
    before: gone ? [id, null] : null,
    after: gone ? null : [id, name],
    origin: 'postgres',
    table: PEOPLE.name,
    position: id,
    ts: 1_700_000_000_000_000,
    tx: null,
    load: null,
  };
}

export function partOf(partition: number, from: number, to: number, ...changes: Change[]): MergePart {
  return { partition, expected: BigInt(from), next: BigInt(to), changes };
}

/** What every merge sink promises the loop, the fake and the real one alike. */
export function mergeSinkContract(open: () => Promise<MergeSinkUnderTest>): void {
  const forever = new AbortController().signal;
  const positions = async (sink: MergeSink, ...partitions: number[]): Promise<(bigint | undefined)[]> => {
    const claimed = await sink.claim(partitions, () => 0n);
    return partitions.map((partition) => claimed.get(partition));
  };

  test('a partition starts where it is told once, and stays where it is', async () => {
    const { sink, other } = await open();
    assert.deepEqual(
      await sink.claim([0, 1], (partition) => BigInt(partition) + 3n),
      new Map([
        [0, 3n],
        [1, 4n],
      ]),
    );
    assert.deepEqual(await positions(other, 1), [4n]);
  });

  test('inserts, updates and deletes by key, several partitions at once, offsets with them', async () => {
    const { sink, stored } = await open();
    await positions(sink, 0, 1);
    const first = await sink.merge(
      [
        partOf(0, 0, 3, personChange(1, 'a', 'insert'), personChange(2, 'b')),
        partOf(1, 0, 2, personChange(3, null, 'insert')),
      ],
      forever,
    );
    assert.deepEqual([first.inserted, first.updated, first.deleted], [3, 0, 0]);
    const second = await sink.merge(
      [partOf(0, 3, 9, personChange(1, 'A', 'insert'), personChange(2), personChange(4))],
      forever,
    );
    assert.deepEqual([second.inserted, second.updated, second.deleted], [0, 1, 1]);
    assert.deepEqual(
      await stored(),
      new Map([
        [1, 'A'],
        [3, null],
      ]),
    );
    assert.deepEqual(await positions(sink, 0, 1), [9n, 2n]);
  });

  test('offsets move without changes, too', async () => {
    const { sink, stored } = await open();
    await positions(sink, 0, 1);
    const done = await sink.merge([partOf(0, 0, 5), partOf(1, 0, 6)], forever);
    assert.deepEqual(done, { inserted: 0, updated: 0, deleted: 0, conflicts: 0, sent: 'nothing' });
    assert.deepEqual([await positions(sink, 0, 1), (await stored()).size], [[5n, 6n], 0]);
  });

  test('deletes that find nothing to delete move the offset', async () => {
    const { sink } = await open();
    await positions(sink, 0);
    const done = await sink.merge([partOf(0, 0, 2, personChange(1))], forever);
    assert.equal(done.deleted, 0);
    assert.deepEqual(await positions(sink, 0), [2n]);
  });

  test('one partition at another offset than the stored one fences all, and changes nothing', async () => {
    const { sink, stored } = await open();
    await positions(sink, 0, 1);
    for (const parts of [
      [partOf(0, 0, 3, personChange(1, 'a')), partOf(1, 1, 9, personChange(2, 'b'))],
      [partOf(0, 0, 3), partOf(1, 1, 9)],
    ])
      await assert.rejects(sink.merge(parts, forever), FencedError);
    assert.deepEqual([await positions(sink, 0, 1), (await stored()).size], [[0n, 0n], 0]);
  });

  test('a partition that nobody claimed is fenced', async () => {
    const { sink } = await open();
    await assert.rejects(sink.merge([partOf(7, 0, 1, personChange(1, 'a'))], forever), FencedError);
  });

  test('one value that cannot be stored refuses all of it, as poison; the rest then passes', async () => {
    const { sink, stored, unstorable } = await open();
    await positions(sink, 0);
    const good = personChange(1, 'a');
    await assert.rejects(
      sink.merge([partOf(0, 0, 2, good, personChange(2, unstorable))], forever),
      PoisonError,
    );
    assert.deepEqual([await positions(sink, 0), (await stored()).size], [[0n], 0]);
    await sink.merge([partOf(0, 0, 2, good)], forever);
    assert.deepEqual([await positions(sink, 0), await stored()], [[2n], new Map([[1, 'a']])]);
  });

  test('of two replicas at the same offset exactly one gets through', async () => {
    const { sink, other, stored } = await open();
    await positions(sink, 0);
    await positions(other, 0);
    const results = await Promise.allSettled([
      sink.merge([partOf(0, 0, 1, personChange(1, 'one'))], forever),
      other.merge([partOf(0, 0, 1, personChange(2, 'two'))], forever),
    ]);
    const [failed, ...others] = results.filter((result) => result.status === 'rejected');
    assert.ok(failed?.reason instanceof FencedError && others.length === 0);
    assert.deepEqual([await positions(sink, 0), (await stored()).size], [[1n], 1]);
  });

  test('replicas with partitions of their own merge at once without losing anything', async () => {
    const { sink, other, stored } = await open();
    await positions(sink, 0);
    await positions(other, 1);
    const ids = [1, 2, 3];
    const chain = async (through: MergeSink, partition: number): Promise<void> => {
      for (const id of ids)
        await through.merge([partOf(partition, id - 1, id, personChange(id + 10 * partition, 'x'))], forever);
    };
    await Promise.all([chain(sink, 0), chain(other, 1)]);
    assert.deepEqual([await positions(sink, 0, 1), (await stored()).size], [[3n, 3n], 6]);
  });

  test('nothing begins once the signal has aborted', async () => {
    const { sink, stored } = await open();
    await positions(sink, 0);
    const reason = new Error('stopping');
    await assert.rejects(
      sink.merge([partOf(0, 0, 1, personChange(1, 'a'))], AbortSignal.abort(reason)),
      reason,
    );
    assert.deepEqual([await positions(sink, 0), (await stored()).size], [[0n], 0]);
  });

  test('files can be put together at any time', async () => {
    const { sink, stored } = await open();
    await positions(sink, 0);
    await sink.merge([partOf(0, 0, 1, personChange(1, 'a'))], forever);
    await sink.optimize();
    assert.deepEqual(await stored(), new Map([[1, 'a']]));
  });
}
