import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TransientError } from '../../src/errors.ts';
import type { Snapshot } from '../../src/ports/postgres-log.ts';
import type { Backlog } from '../../src/producers/backfill-deps.ts';
import { caughtUp, liveOffsetsNow, mergedByNow } from '../../src/producers/load-catch-up.ts';

const never = new AbortController().signal;
const V = { tableId: 'table-1', version: 7, ts: 0, rows: 0 };

/** The topics, and groups that are somewhere in them: each question moves the world on by one step. */
function world(steps: {
  readonly feed?: readonly (number | null)[];
  /** Of the changes topic; the last one stays. */
  readonly ends?: readonly (readonly bigint[])[];
  /** Where the consumers are; the last one stays. */
  readonly at?: readonly ReadonlyMap<number, bigint>[];
  /** Whether a change lies between; the last one stays. */
  readonly between?: readonly boolean[];
}) {
  const asked: string[] = [];
  const next = <T>(name: string, list: readonly T[]): T => {
    const index = asked.filter((each) => each === name).length;
    asked.push(name);
    return list[Math.min(index, list.length - 1)]!;
  };
  const retried: unknown[] = [];
  const topics = {
    feedVersion: async () => next('feed', steps.feed ?? [V.version]),
    changesEnds: async () => next('ends', steps.ends ?? [[10n, 10n]]),
    changesLow: async () => [2n, 2n],
    changesBetween: async () => next('between', steps.between ?? [false]),
  };
  const groups = async () =>
    next(
      'at',
      steps.at ?? [
        new Map([
          [0, 10n],
          [1, 10n],
        ]),
      ],
    );
  const deps = {
    topics,
    loads: { consumers: groups },
    onRetry: (error: unknown) => retried.push(error),
    random: () => 0,
  };
  return { asked, retried, groups, deps };
}

describe('a load that waits for live changes', () => {
  it('asks where the topic ends once the feed is there, and waits for consumers that lag behind', async () => {
    const { deps, asked } = world({
      feed: [null, 6, 7],
      ends: [[10n, 5000n]],
      at: [
        new Map([[0, 10n]]),
        new Map([
          [0, 10n],
          [1, 3000n],
        ]),
        new Map([
          [0, 10n],
          [1, 4999n],
        ]),
        new Map([
          [0, 9n],
          [1, 4999n],
        ]),
      ],
      between: [true, false],
    });
    await caughtUp(deps, V, never);
    // A partition that nobody has claimed, one far behind, one with a change left, then only marks of transactions.
    assert.deepEqual(asked, ['feed', 'feed', 'feed', 'ends', 'at', 'at', 'at', 'between', 'at', 'between']);
  });

  it('tries again what may pass, and ends with the signal', async () => {
    const { deps, groups, retried } = world({});
    let failures = 2;
    const consumers = async () => {
      if (failures-- > 0) throw new TransientError({ code: 'POSTGRES_UNREACHABLE', message: 'away' });
      return groups();
    };
    await caughtUp({ ...deps, loads: { consumers } }, V, never);
    assert.equal(retried.length, 2);

    const late = world({ feed: [6] });
    const stop = new AbortController();
    const waiting = caughtUp(late.deps, V, stop.signal);
    stop.abort(new Error('stopped'));
    await assert.rejects(waiting, /stopped/);
  });

  it('says what Delta does not have yet, and for which role', async () => {
    const { deps, groups } = world({
      ends: [[10n, 20n]],
      at: [
        new Map([[1, 4n]]),
        new Map([
          [0, 10n],
          [1, 20n],
        ]),
      ],
      between: [true],
    });
    const position: Snapshot = '5:5:';
    const unpublished = [
      { rows: 10_000, atLeast: true },
      { rows: 0, atLeast: false },
    ];
    const captured = {
      logPosition: async () => position,
      unpublished: async () => unpublished.shift()!,
      merged: groups,
    };
    const told: Backlog[] = [];
    assert.equal(
      await mergedByNow({ ...deps, captured }, 'load-1', (backlog) => told.push(backlog), never),
      position,
    );
    assert.deepEqual(told, [
      { role: 'postgres-log', behind: 10_000, atLeast: true },
      { role: 'postgres-log', behind: 0, atLeast: false },
      // Nothing of the first partition is merged: it is where the topic begins.
      { role: 'delta-merge', behind: 8 + 16, atLeast: false },
      { role: 'delta-merge', behind: 0, atLeast: false },
    ]);
  });
});

describe('where live changes go on behind a load', () => {
  const merged = async () =>
    new Map([
      [0, 8n],
      [1, 30n],
    ]);
  const captured = {
    logPosition: async () => '',
    unpublished: async () => ({ rows: 0, atLeast: false }),
    merged,
  };

  it('is where the topic ends now, and where Delta is behind that, where Delta is', async () => {
    const { topics } = world({ ends: [[10n, 20n]] }).deps;
    assert.deepEqual(await liveOffsetsNow({ captured: null }, { source: 'delta' }, topics), [10n, 20n]);
    assert.deepEqual(await liveOffsetsNow({ captured }, { source: 'delta' }, topics), [8n, 20n]);
    assert.deepEqual(await liveOffsetsNow({ captured }, { source: 'postgres' }, topics), [10n, 20n]);
  });

  it('is where Delta is also behind what others change in another Postgres, if anybody does', async () => {
    const { topics } = world({ ends: [[10n, 20n]] }).deps;
    const from = (found: ReadonlyMap<number, bigint> | null) => {
      const others = { merged: async () => found, earlier: async () => null };
      return liveOffsetsNow({ captured: null, others }, { source: 'delta' }, topics);
    };
    assert.deepEqual(await from(null), [10n, 20n]);
    assert.deepEqual(await from(await merged()), [8n, 20n]);
    assert.deepEqual(await from(new Map()), [2n, 2n], 'nobody has merged anything, or nobody may know');
  });

  it('is where the topic begins for a partition of which nothing is merged', async () => {
    const { topics } = world({ ends: [[10n, 20n]] }).deps;
    const none = { ...captured, merged: async () => new Map<number, bigint>() };
    assert.deepEqual(await liveOffsetsNow({ captured: none }, { source: 'delta' }, topics), [2n, 2n]);
  });
});
