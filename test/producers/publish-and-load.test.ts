import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OperatorError } from '../../src/errors.ts';
import { progressPosition } from '../../src/flow/load-manifest.ts';
import type { Load, PublishedSoFar, SnapshotPart, SnapshotRest } from '../../src/ports/load.ts';
import type { BackfillDeps, BackfillProgress } from '../../src/producers/backfill-deps.ts';
import { publishAndLoad } from '../../src/producers/publish-and-load.ts';
import { employee, employees } from './employees.ts';
import { FakeTopic, tick } from './fake-log.ts';

const PIECES = 20;
const ROWS_PER_PIECE = 10;
const MOST_AHEAD = 30;
const PINNED = { tableId: 'table-1', version: 7, ts: 1000, rows: PIECES * ROWS_PER_PIECE };
const LOAD = {
  id: 'load-1',
  source: 'delta',
  captured: false,
  startOffsets: [0n],
  pinned: PINNED,
} as unknown as Load & { readonly pinned: typeof PINNED };

type Loading = BackfillDeps['loader']['run'];

function start(run: Loading, missing = 0) {
  const topic = new FakeTopic();
  topic.position = progressPosition(
    { load: LOAD.id, postgresId: 'postgres' },
    { parts: 0, at: null, rows: 0, rejected: 0 },
  );
  const noted = { acknowledged: [] as PublishedSoFar[], applied: [] as number[], ends: [] as unknown[] };
  let progress = { read: 0, published: 0, rejected: 0, applied: 0 } as BackfillProgress;
  let furthest = 0;
  const deps = {
    mapping: employees,
    origin: 'delta',
    postgresId: 'postgres',
    log: topic.log(),
    mostAhead: MOST_AHEAD,
    random: () => 0,
    onRetry: () => {},
    loads: {
      newest: async () => ({ ...LOAD, liveOffsets: [3n] }),
      acknowledge: async (_: string, so: PublishedSoFar) => void noted.acknowledged.push(so),
      noteApplied: async (_: string, rows: number) => void noted.applied.push(rows),
      published: async (_: string, ends: unknown) => void noted.ends.push(ends),
    },
    name: 'employees',
    topics: { ends: async () => [99n] },
    loader: { run },
    source: {
      async *read({ pieces }: SnapshotRest): AsyncGenerator<SnapshotPart> {
        for (const piece of pieces) {
          await tick();
          const rows = Array.from({ length: ROWS_PER_PIECE - missing }, (_, n) => ({
            kind: 'row' as const,
            row: employee(Number(piece) * ROWS_PER_PIECE + n),
          }));
          yield { rows, at: null };
        }
      },
    },
  } as unknown as BackfillDeps;
  const tell = (news: Partial<BackfillProgress>): void => {
    progress = { ...progress, ...news };
    furthest = Math.max(furthest, progress.published - progress.applied);
  };
  const pieces = Array.from({ length: PIECES }, (_, piece) => String(piece));
  const signal = new AbortController().signal;
  const done = publishAndLoad(deps, LOAD, pieces, () => progress, tell, signal);
  return { done, topic, noted, progress: () => progress, furthest: () => furthest };
}

describe('publishing and loading side by side', () => {
  it('publishes no further ahead of the rows in the table than it may', async () => {
    const applying: Loading = async (_, onApplied) => {
      for (let applied = 0; applied < PINNED.rows;) {
        // Slower than any publisher: it is at its limit each time.
        for (let turn = 0; turn < 50; turn++) await tick();
        applied = Math.min(applied + 7, started.progress().published);
        onApplied(applied);
      }
    };
    const started = start(applying);
    await started.done;
    assert.equal(started.topic.changes.length, PINNED.rows);
    assert.ok(started.furthest() > MOST_AHEAD - ROWS_PER_PIECE, `${started.furthest()} rows ahead at most`);
    assert.ok(started.furthest() <= MOST_AHEAD, `${started.furthest()} rows ahead`);
    assert.deepEqual(started.noted.acknowledged.at(-1), {
      parts: PIECES,
      at: null,
      rows: PINNED.rows,
      rejected: 0,
    });
    assert.deepEqual(started.noted.ends, [[99n]]);
    assert.equal(started.noted.applied.at(-1), PINNED.rows);
  });

  it('tells what is read, published and applied of all', async () => {
    const applying: Loading = async (_, onApplied) => {
      await tick();
      while (started.progress().published < PINNED.rows) {
        onApplied(started.progress().published);
        await tick();
      }
      onApplied(PINNED.rows);
    };
    const started = start(applying);
    await started.done;
    const { read, published, applied } = started.progress();
    assert.deepEqual([read, published, applied], [PINNED.rows, PINNED.rows, PINNED.rows]);
  });

  it('the failure of one ends the other, also while it waits for room', async () => {
    const failure = new OperatorError({ code: 'LOAD_PROCESS_ENDED', message: 'gone', remedy: 'again' });
    const { done, noted, furthest } = start(async () => {
      for (let turn = 0; turn < 500; turn++) await tick();
      throw failure;
    });
    await assert.rejects(done, failure);
    assert.ok(furthest() > MOST_AHEAD - ROWS_PER_PIECE, 'it waited for room');
    assert.deepEqual(noted.ends, []);
  });

  it('ends the loading where fewer rows were read than the version has', async () => {
    let ended: unknown = null;
    const waiting: Loading = (_, onApplied, signal) =>
      new Promise((_resolve, reject) => {
        const timer = setInterval(() => onApplied(PINNED.rows), 1);
        signal.addEventListener('abort', () => {
          clearInterval(timer);
          ended = signal.reason;
          reject(signal.reason as Error);
        });
      });
    const { done } = start(waiting, 1);
    await assert.rejects(done, { code: 'LOAD_READ_INCOMPLETE' });
    assert.equal((ended as { code?: string }).code, 'LOAD_READ_INCOMPLETE');
  });
});
