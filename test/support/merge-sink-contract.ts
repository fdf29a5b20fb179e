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
  /** What the table holds of this test's ids: id → name. */
  readonly stored: () => Promise<ReadonlyMap<number, string | null>>;
  /** A name that it can never store. */
  readonly unstorable: string;
  /** Added to the partitions and ids of a test: the tests may share a table, in which each has its own. */
  readonly first: number;
}

/** So many partitions and ids are a test's own. */
export const OWN = 100;

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

  test('a partition starts where it is told once, and stays where it is', async () => {
    const { sink, other, first } = await open();
    const at = await sink.claim([first, first + 1], (partition) => BigInt(partition - first) + 3n);
    assert.deepEqual(
      at,
      new Map([
        [first, 3n],
        [first + 1, 4n],
      ]),
    );
    assert.deepEqual(await other.claim([first + 1], () => 0n), new Map([[first + 1, 4n]]));
  });

  test('inserts, updates and deletes by key, several partitions at once, offsets with them', async () => {
    const { sink, part, person, positions, rows } = await opened();
    await positions(sink, 0, 1);
    const one = await sink.merge(
      [part(0, 0, 3, person(1, 'a', 'insert'), person(2, 'b')), part(1, 0, 2, person(3, null, 'insert'))],
      forever,
    );
    assert.deepEqual([one.inserted, one.updated, one.deleted], [3, 0, 0]);
    const two = await sink.merge([part(0, 3, 9, person(1, 'A', 'insert'), person(2), person(4))], forever);
    assert.deepEqual([two.inserted, two.updated, two.deleted], [0, 1, 1]);
    assert.deepEqual(await rows(), { 1: 'A', 3: null });
    assert.deepEqual(await positions(sink, 0, 1), [9n, 2n]);
  });

  test('offsets move without changes, too', async () => {
    const { sink, part, positions, rows } = await opened();
    await positions(sink, 0, 1);
    const done = await sink.merge([part(0, 0, 5), part(1, 0, 6)], forever);
    assert.deepEqual(done, { inserted: 0, updated: 0, deleted: 0, conflicts: 0, sent: 'nothing' });
    assert.deepEqual([await positions(sink, 0, 1), await rows()], [[5n, 6n], {}]);
  });

  test('deletes that find nothing to delete move the offset', async () => {
    const { sink, part, person, positions } = await opened();
    await positions(sink, 0);
    const done = await sink.merge([part(0, 0, 2, person(1))], forever);
    assert.equal(done.deleted, 0);
    assert.deepEqual(await positions(sink, 0), [2n]);
  });

  test('one partition at another offset than the stored one fences all, and changes nothing', async () => {
    const { sink, part, person, positions, rows } = await opened();
    await positions(sink, 0, 1);
    for (const parts of [
      [part(0, 0, 3, person(1, 'a')), part(1, 1, 9, person(2, 'b'))],
      [part(0, 0, 3), part(1, 1, 9)],
    ])
      await assert.rejects(sink.merge(parts, forever), FencedError);
    assert.deepEqual([await positions(sink, 0, 1), await rows()], [[0n, 0n], {}]);
  });

  test('a partition that nobody claimed is fenced', async () => {
    const { sink, part, person } = await opened();
    await assert.rejects(sink.merge([part(7, 0, 1, person(1, 'a'))], forever), FencedError);
  });

  test('one value that cannot be stored refuses all of it, as poison; the rest then passes', async () => {
    const { sink, part, person, positions, rows, unstorable } = await opened();
    await positions(sink, 0);
    const good = person(1, 'a');
    await assert.rejects(sink.merge([part(0, 0, 2, good, person(2, unstorable))], forever), PoisonError);
    assert.deepEqual([await positions(sink, 0), await rows()], [[0n], {}]);
    await sink.merge([part(0, 0, 2, good)], forever);
    assert.deepEqual([await positions(sink, 0), await rows()], [[2n], { 1: 'a' }]);
  });

  test('of two replicas at the same offset exactly one gets through', async () => {
    const { sink, other, part, person, positions, rows } = await opened();
    await positions(sink, 0);
    await positions(other, 0);
    const results = await Promise.allSettled([
      sink.merge([part(0, 0, 1, person(1, 'one'))], forever),
      other.merge([part(0, 0, 1, person(2, 'two'))], forever),
    ]);
    const [failed, ...others] = results.filter((result) => result.status === 'rejected');
    assert.ok(failed?.reason instanceof FencedError && others.length === 0);
    assert.deepEqual([await positions(sink, 0), Object.keys(await rows()).length], [[1n], 1]);
  });

  test('replicas with partitions of their own merge at once without losing anything', async () => {
    const { sink, other, part, person, positions, rows } = await opened();
    await positions(sink, 0);
    await positions(other, 1);
    const ids = [1, 2];
    const chain = async (through: MergeSink, partition: number): Promise<void> => {
      for (const id of ids)
        await through.merge([part(partition, id - 1, id, person(id + 10 * partition, 'x'))], forever);
    };
    await Promise.all([chain(sink, 0), chain(other, 1)]);
    assert.deepEqual([await positions(sink, 0, 1), Object.keys(await rows()).length], [[2n, 2n], 4]);
  });

  test('nothing begins once the signal has aborted', async () => {
    const { sink, part, person, positions, rows } = await opened();
    await positions(sink, 0);
    const reason = new Error('stopping');
    await assert.rejects(sink.merge([part(0, 0, 1, person(1, 'a'))], AbortSignal.abort(reason)), reason);
    assert.deepEqual([await positions(sink, 0), await rows()], [[0n], {}]);
  });

  test('files can be put together at any time', async () => {
    const { sink, part, person, positions, rows } = await opened();
    await positions(sink, 0);
    await sink.merge([part(0, 0, 1, person(1, 'a'))], forever);
    await sink.optimize();
    assert.deepEqual(await rows(), { 1: 'a' });
  });

  /** A sink under test whose partitions and ids a test counts from 0. */
  async function opened() {
    const { first, stored, ...under } = await open();
    return {
      ...under,
      part: (partition: number, ...more: [from: number, to: number, ...Change[]]) =>
        partOf(first + partition, ...more),
      person: (id: number, ...more: [name?: string | null, op?: Change['op']]) =>
        personChange(first + id, ...more),
      async positions(sink: MergeSink, ...partitions: number[]): Promise<(bigint | undefined)[]> {
        const own = partitions.map((partition) => first + partition);
        const claimed = await sink.claim(own, () => 0n);
        return own.map((partition) => claimed.get(partition));
      },
      async rows(): Promise<Record<number, string | null>> {
        return Object.fromEntries([...(await stored())].map(([id, name]) => [id - first, name]));
      },
    };
  }
}
