import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createFeedBatcher, type FeedBatch } from '../../src/flow/feed-batch.ts';
import { isSameCommit, parseFeedPosition, startOf, type FeedPosition } from '../../src/flow/feed-position.ts';
import type { PairingOutcome } from '../../src/flow/pairing.ts';

const limits = { changes: 3, bytes: 1_000_000 };

function change(version: number, key: string, text = ''): PairingOutcome {
  return {
    version,
    kind: 'change',
    change: {
      op: 'insert',
      key,
      before: null,
      after: [key, text],
      origin: 'delta',
      table: 't',
      position: version,
      ts: version,
      tx: null,
      load: null,
    },
  };
}

const keys = (batch: FeedBatch | null): string[] =>
  batch?.changes.map((each) => `${each.position}/${each.key}`) ?? [];

describe('feed batches (Delta capture: a commit is the unit, a large one spans transactions)', () => {
  it('several small versions share a transaction', () => {
    const batcher = createFeedBatcher(startOf('id'), limits);
    batcher.add(change(1, 'a'));
    batcher.add(change(2, 'b'));
    batcher.complete(4);
    assert.equal(batcher.isFull(), false);
    const batch = batcher.take();
    assert.deepEqual(keys(batch), ['1/a', '2/b']);
    assert.deepEqual(batch?.position, { tableId: 'id', version: 4, groups: 0 });
    assert.equal(batcher.take(), null);
  });

  it('a large version is cut, and its position counts the keys', () => {
    const batcher = createFeedBatcher({ tableId: 'id', version: 4, groups: 0 }, limits);
    for (const key of ['a', 'b']) batcher.add(change(5, key));
    batcher.add({ version: 5, kind: 'unchanged' });
    batcher.add(change(5, 'd'));
    assert.equal(batcher.isFull(), true);
    assert.deepEqual(batcher.take()?.position, { tableId: 'id', version: 4, groups: 4 });
  });

  it('rows of many bytes fill a batch too', () => {
    const batcher = createFeedBatcher(startOf('id'), { changes: 100, bytes: 1000 });
    batcher.add(change(0, 'a', 'x'.repeat(999)));
    assert.equal(batcher.isFull(), true);
  });

  it('so do rejected rows, by their number and by their bytes', () => {
    const rejected = (payload: string): PairingOutcome => ({
      version: 0,
      kind: 'rejected',
      rejection: { key: '', table: 't', code: 'X', message: '', position: 0, ts: 0, payload },
    });
    const many = createFeedBatcher(startOf('id'), limits);
    for (let row = 0; row < 3; row++) many.add(rejected('{}'));
    assert.equal(many.isFull(), true);
    const large = createFeedBatcher(startOf('id'), { changes: 100, bytes: 1000 });
    large.add(rejected('x'.repeat(1000)));
    assert.equal(large.isFull(), true);
  });

  it('versions without rows move the position', () => {
    const batcher = createFeedBatcher({ tableId: 'id', version: 4, groups: 2 }, limits);
    batcher.complete(5);
    assert.deepEqual(batcher.take(), {
      changes: [],
      rejected: [],
      position: { tableId: 'id', version: 5, groups: 0 },
    });
    batcher.complete(5);
    assert.equal(batcher.take(), null);
    assert.equal(batcher.next(), 6);
  });

  it('resuming at any position publishes exactly what is left', () => {
    const version = fc.array(fc.constantFrom('change', 'unchanged'), { maxLength: 8 });
    fc.assert(
      fc.property(
        fc.array(version, { maxLength: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(),
        (versions, size, stopAfter) => {
          const run = (from: FeedPosition, most: number): { sent: string[]; at: FeedPosition } => {
            const batcher = createFeedBatcher(from, { changes: size, bytes: 1e9 });
            const sent: string[] = [];
            let at = from;
            let transactions = 0;
            const flush = (): boolean => {
              const batch = batcher.take();
              if (batch === null) return true;
              sent.push(...keys(batch));
              at = batch.position;
              return ++transactions < most;
            };
            for (const [number, outcomes] of versions.entries()) {
              if (number < batcher.next()) continue;
              for (const [index, kind] of outcomes.entries()) {
                batcher.add(
                  kind === 'change' ? change(number, `k${index}`) : { version: number, kind: 'unchanged' },
                );
                if (batcher.isFull() && !flush()) return { sent, at };
              }
              batcher.complete(number);
            }
            flush();
            return { sent, at };
          };
          const whole = run(startOf('id'), Infinity);
          const first = run(startOf('id'), (stopAfter % 10) + 1);
          const second = run(first.at, Infinity);
          assert.deepEqual([...first.sent, ...second.sent], whole.sent);
          assert.equal(second.at.version, versions.length - 1);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('what is not a position stops the feed instead of starting it over', () => {
    assert.deepEqual(parseFeedPosition({ tableId: 'x', version: -1, groups: 0 }, 't'), startOf('x'));
    for (const stored of [
      {},
      { tableId: 'x', version: 1.5, groups: 0 },
      { tableId: 1, version: 1, groups: 0 },
      { tableId: 'x', version: 1, groups: -1 },
    ])
      assert.throws(() => parseFeedPosition(stored, 't'), { code: 'POSITION_UNREADABLE' });
  });
});

describe('a commit of a number', () => {
  const stamp = '2026-01-02T03:04:05.678Z';

  it('is the same one where its time is a little different: a history puts times in order', () => {
    for (const other of [stamp, '2026-01-02T03:04:05.679Z', '2026-01-02T03:03:30.000Z'])
      assert.ok(isSameCommit(stamp, other), other);
  });

  it('is another one where its time is another', () => {
    for (const other of ['2026-01-02T03:06:00.000Z', '2025-01-02T03:04:05.678Z', 'table-1@7'])
      assert.ok(!isSameCommit(stamp, other), other);
  });
});
