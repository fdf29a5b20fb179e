import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { BackfillProgress } from '../../src/service/backfill.ts';
import { createDeltaCommits, type DeltaCommits } from '../support/delta-commits.ts';
import { endsWell } from '../support/ends-well.ts';
import { isPublished } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { holding } from '../support/holding.ts';
import { loadedChanges } from '../support/loaded-changes.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';
import { loadHere } from '../support/load-here.ts';

const ROWS = 3000;
const ROWS_PER_PIECE = 100;
const MOST_AHEAD = 1000;
/** One is read while the one before it waits for room. */
const PIECES_READ_AHEAD = 2;

describe('a load of a table whose changes were published before anybody applied them', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const hint = `seed ${seed} (set CRASH_SEED)`;
  const later = undoing();
  let site: Site;
  let commits: DeltaCommits;
  let feed: Worker;

  before(async () => {
    site = later(
      await openSite({ prefix: 'backfill_published', settings: { polling: { minMs: 100, maxMs: 1000 } } }),
      (made) => made.drop(),
    );
    commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    await commits.large(ROWS);
    feed = work('delta-feed');
    for (let n = 0; n < 3; n++) await commits.mixed();
    await published();
  });

  const work = (role: string): Worker =>
    later(startWorker(['--config', site.configFile, '--only', role]), (made) => made.kill());

  async function published(): Promise<void> {
    await until('the last change to be published', () => isPublished(feed.lines, commits.version), {
      timeoutMs: 60_000,
    });
  }

  const load = (onProgress: (progress: BackfillProgress) => void, signal: AbortSignal) =>
    loadHere(site.config, { rowsPerPiece: ROWS_PER_PIECE, mostAhead: MOST_AHEAD, onProgress, signal });

  it(
    'publishes so many rows ahead of those loaded, and goes on as these are; then what came before it is applied, too',
    { timeout: 300_000 },
    async ({ signal }) => {
      const { updates, deletes, reinserts } = commits.shares;
      assertShares({ updates, deletes, reinserts });

      const at: { progress?: BackfillProgress; unloaded?: Promise<() => Promise<void>>; furthest: number } = {
        furthest: 0,
      };
      const loading = load((progress) => {
        at.progress = progress;
        at.furthest = Math.max(at.furthest, progress.published - progress.applied);
        if (progress.stage === 'pinning') return;
        // From here on no row comes into the load's table.
        at.unloaded ??= holding(site, `deltaferry."load_${progress.load}_progress" IN SHARE MODE`);
      }, signal);
      loading.catch(() => {});
      const isFull = (): boolean => (at.progress?.published ?? 0) > MOST_AHEAD - ROWS_PER_PIECE;
      await Promise.race([
        loading,
        until('so many rows to be published', isFull, { everyMs: 1, timeoutMs: 60_000 }),
      ]);
      const letGo = later(await at.unloaded!, (held) => held());
      // All of it would be published by then.
      await commits.mixed();
      await published();
      const { applied, published: ahead, read } = at.progress!;
      assert.equal(applied, 0);
      assert.ok(ahead <= MOST_AHEAD, `${ahead} rows are published`);
      assert.ok(read <= MOST_AHEAD + PIECES_READ_AHEAD * ROWS_PER_PIECE, `${read} rows are read`);
      await letGo();
      const told = (): string => JSON.stringify({ ...at.progress, pinned: null });
      const late = delay(60_000, null, { ref: false }).then(() => assert.fail(`it stands at ${told()}`));
      const { rows } = await Promise.race([loading, late]);
      assert.ok(at.furthest <= MOST_AHEAD, `${at.furthest} rows ahead`);

      const consumer = work('postgres-history');
      await commits.mixed();
      await published();
      await caughtUp(site, 60_000);
      const {
        loaded,
        earlier,
        later: since,
      } = await loadedChanges(site, commits, at.progress!.pinned!.version);
      assert.equal(rows, loaded.length);
      assert.ok(earlier.length > loaded.length && since.length > 0);
      await endsWell(consumer);
      await endsWell(feed);
      await assertHistory(site, [...earlier, ...loaded, ...since], hint);
    },
  );
});
