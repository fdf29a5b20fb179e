import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FencedError, PoisonError } from '../../src/errors.ts';
import type { HistorySink } from '../../src/ports/history-sink.ts';
import { change } from './fakes.ts';

export interface SinkUnderTest {
  readonly sink: HistorySink;
  /** How many changes are stored. */
  readonly stored: () => Promise<number>;
  /** A name that it can never store. */
  readonly unstorable: string;
}

/** What every history promises the loop, the fake and the real one alike. */
export function historySinkContract(open: () => Promise<SinkUnderTest>): void {
  const position = async (sink: HistorySink, partition = 0): Promise<bigint | undefined> =>
    (await sink.claim([partition], () => 0n)).get(partition);

  test('a partition starts where it is told once, and stays where it is', async () => {
    const { sink } = await open();
    assert.deepEqual(
      await sink.claim([0, 1], (partition) => BigInt(partition) + 3n),
      new Map([
        [0, 3n],
        [1, 4n],
      ]),
    );
    assert.equal(await position(sink, 1), 4n);
  });

  test('changes and offset move together, the offset alone too', async () => {
    const { sink, stored } = await open();
    await position(sink);
    const changes = [change(1, 0), change(2, 1)];
    await sink.apply({ partition: 0, expected: 0n, next: 3n, changes });
    assert.deepEqual([await position(sink), await stored()], [3n, 2]);
    await sink.apply({ partition: 0, expected: 3n, next: 9n, changes: [] });
    assert.deepEqual([await position(sink), await stored()], [9n, 2]);
  });

  test('another offset than the stored one is fenced and changes nothing', async () => {
    const { sink, stored } = await open();
    await position(sink);
    for (const expected of [1n, 5n])
      await assert.rejects(
        sink.apply({ partition: 0, expected, next: 9n, changes: [change(1, 0)] }),
        FencedError,
      );
    assert.deepEqual([await position(sink), await stored()], [0n, 0]);
  });

  test('one value that cannot be stored refuses the whole batch, as poison', async () => {
    const { sink, stored, unstorable } = await open();
    await position(sink);
    const changes = [change(1, 0), change(2, 1, unstorable), change(3, 2)];
    await assert.rejects(sink.apply({ partition: 0, expected: 0n, next: 3n, changes }), PoisonError);
    assert.deepEqual([await position(sink), await stored()], [0n, 0]);
  });

  test('of two at the same offset exactly one gets through', async () => {
    const { sink, stored } = await open();
    await position(sink);
    const tries = [1, 2].map((key) =>
      sink.apply({ partition: 0, expected: 0n, next: 1n, changes: [change(key, 0)] }),
    );
    const results = await Promise.allSettled(tries);
    const [failed, ...others] = results.filter((result) => result.status === 'rejected');
    assert.ok(failed?.reason instanceof FencedError && others.length === 0);
    assert.deepEqual([await position(sink), await stored()], [1n, 1]);
  });
}
