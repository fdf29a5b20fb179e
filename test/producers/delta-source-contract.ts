import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DeltaChangeRow, DeltaSource } from '../../src/ports/delta-source.ts';

/** A table of employees that the contract writes to; names are enough to tell rows apart. */
export interface ContractTable {
  readonly source: DeltaSource;
  insert(rows: readonly (readonly [id: number, name: string])[]): Promise<void>;
  rename(id: number, name: string): Promise<void>;
  remove(id: number): Promise<void>;
  /** Updates or inserts one row and leaves the mark in the commit. */
  mergeMarked(id: number, name: string, mark: string): Promise<void>;
  overwriteWithItself(): Promise<void>;
  restore(version: number): Promise<void>;
}

/** What every DeltaSource, fake and real, does: the fakes of the loop's tests are only worth this. */
export function deltaSourceContract(kind: string, open: () => Promise<ContractTable>): void {
  describe(`DeltaSource contract: ${kind}`, () => {
    it('history, images, marks, pinned ranges, order', async () => {
      const table = await open();
      const { source } = table;
      await table.insert([
        [3, 'Cid'],
        [1, 'Ann'],
        [20, 'Dan'],
      ]);
      await table.rename(1, 'Anna');
      await table.remove(3);
      await table.mergeMarked(1, 'Annika', 'deltaferry/employees 0:1042,1:977');
      await table.overwriteWithItself();
      await table.restore(1);

      const commits = await source.commits(100);
      assert.deepEqual(
        commits.map(({ version }) => version),
        [6, 5, 4, 3, 2, 1, 0],
      );
      assert.deepEqual(
        commits.map(({ mark }) => mark),
        [null, null, 'deltaferry/employees 0:1042,1:977', null, null, null, null],
      );
      assert.deepEqual(
        (await source.commits(2)).map(({ version }) => version),
        [6, 5],
      );

      assert.deepEqual(await lines(source, 0, 0), []);
      assert.deepEqual(await lines(source, 1, 1), ['1 insert 1 Ann', '1 insert 3 Cid', '1 insert 20 Dan']);
      assert.deepEqual(await lines(source, 2, 3), [
        '2 update_postimage 1 Anna',
        '2 update_preimage 1 Ann',
        '3 delete 3 Cid',
      ]);
      assert.deepEqual(await lines(source, 4, 4), [
        '4 update_postimage 1 Annika',
        '4 update_preimage 1 Anna',
      ]);
      assert.deepEqual(await lines(source, 5, 5), [
        '5 delete 1 Annika',
        '5 insert 1 Annika',
        '5 delete 20 Dan',
        '5 insert 20 Dan',
      ]);
      assert.deepEqual(await lines(source, 6, 6), [
        '6 delete 1 Annika',
        '6 insert 1 Ann',
        '6 insert 3 Cid',
        '6 delete 20 Dan',
        '6 insert 20 Dan',
      ]);
      assert.deepEqual(
        await lines(source, 0, 6),
        (await Promise.all([0, 1, 2, 3, 4, 5, 6].map((at) => lines(source, at, at)))).flat(),
      );
    });

    it('every row of a version bears the same time, and later versions later ones', async () => {
      const table = await open();
      await table.insert([
        [1, 'Ann'],
        [2, 'Bob'],
      ]);
      await table.rename(1, 'Anna');
      const times = new Map<number, Set<unknown>>();
      for (const { version, ts } of await rows(table.source, 0, 2))
        times.set(version, (times.get(version) ?? new Set()).add(ts));
      const [first, second] = [...times.values()].map((all) => [...all]);
      assert.equal(first?.length, 1);
      assert.equal(second?.length, 1);
      assert.ok(Number(first?.[0]) > 1_600_000_000_000_000 && Number(first?.[0]) < Number(second?.[0]));
    });

    it('the stamp tells of every commit, the id stays', async () => {
      const table = await open();
      const seen = [await table.source.describe()];
      await table.insert([[1, 'Ann']]);
      seen.push(await table.source.describe());
      await table.rename(1, 'Anna');
      seen.push(await table.source.describe());
      assert.deepEqual(await table.source.describe(), seen.at(-1));
      assert.equal(new Set(seen.map(({ stamp }) => stamp)).size, 3);
      assert.equal(new Set(seen.map(({ id }) => id)).size, 1);
      assert.ok(seen.every(({ changeDataFeed }) => changeDataFeed));
    });

    it('an abort ends a read, leaving it early hurts nobody', async () => {
      const table = await open();
      await table.insert(Array.from({ length: 10 }, (_, index) => [index + 1, 'Ann'] as const));
      const aborted = new AbortController();
      aborted.abort(new Error('enough'));
      await assert.rejects(async () => {
        for await (const _ of table.source.changes(1, 1, aborted.signal));
      }, /enough/);
      for await (const page of table.source.changes(1, 1)) {
        assert.ok(page.length > 0);
        break;
      }
      assert.equal((await rows(table.source, 1, 1)).length, 10);
    });
  });
}

export async function rows(source: DeltaSource, from: number, to: number): Promise<DeltaChangeRow[]> {
  const all: DeltaChangeRow[] = [];
  for await (const page of source.changes(from, to)) all.push(...page);
  return all;
}

/** The order of images of one key is nobody's concern, so it is not compared. */
async function lines(source: DeltaSource, from: number, to: number): Promise<string[]> {
  return (await rows(source, from, to)).map(
    ({ version, type, row }) => `${version} ${type} ${String(row[0])} ${String(row[1])}`,
  );
}
