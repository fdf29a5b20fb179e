import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Op } from '../../src/change/change.ts';
import { restartPart, startStack, stopStack, type Endpoints, type PartName } from '../../src/stack/stack.ts';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { bothSides } from '../support/both-sides.ts';
import { seededRandom } from '../support/change-generator.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { endsWell } from '../support/ends-well.ts';
import { enginesForTests } from '../support/engines-jvm.ts';
import { isPublished } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { committedKeys } from '../support/load-records.ts';
import { loadedChanges } from '../support/loaded-changes.ts';
import { QUICK } from '../support/service.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const ROWS = 10_000;
const ROWS_PER_PIECE = 200;
/** People do not write without a pause: the machine is the load's, too. */
const BETWEEN_MS = 1500;
/** Nor does the service ask Delta, and merge, all the time. */
const SETTINGS = {
  ...QUICK,
  polling: { minMs: 200, maxMs: 1000 },
  merging: { minAgeMs: 1000, maxAgeMs: 2000 },
};

interface Restart {
  readonly part: PartName;
  readonly how: 'killed' | 'restarted';
}

const RESTARTS: readonly Restart[] = [
  { part: 'kafka', how: 'killed' },
  { part: 'postgres', how: 'restarted' },
  { part: 'warehouse', how: 'killed' },
  { part: 'postgres', how: 'killed' },
];

describe('engines that are restarted under a load', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const hint = `seed ${seed} (set CRASH_SEED)`;
  const later = undoing();
  const dir = later(mkdtempSync(join(tmpdir(), 'deltaferry-load-restarts-')), (made) =>
    rm(made, { recursive: true, force: true }),
  );
  // Everybody may enter it: as root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  let endpoints: Endpoints;

  before(async () => {
    enginesForTests();
    later(dir, () => stopStack({ dir, wipe: true }));
    endpoints = await startStack({ dir, ownerPid: process.pid, wipeWithOwner: true });
  });

  /** Restarts one engine after the other while the load publishes and people work, and waits for the load's end. */
  async function underRestarts(
    t: TestContext,
    site: Site,
    restarts: readonly Restart[],
    people: (isMerging: () => boolean) => Promise<void>,
    ...more: string[]
  ): Promise<Worker> {
    const args = [site.name, '--config', site.configFile, '--piece', String(ROWS_PER_PIECE), ...more];
    const run = later(startBackfill(args), (made) => made.kill());
    // Before there is a load, the feed would begin at the table's first version.
    await until('the load to begin', async () => {
      if (!run.alive()) throw new Error(textOf(run));
      return (await newestLoad(site))?.version !== undefined;
    });
    const worker = later(startWorker(['--config', site.configFile]), (made) => made.kill());
    const isMerging = (): boolean => run.printed.some((line) => /moving|compar/.test(line));
    const working = repeating(later, () => people(isMerging));
    const published = (): number => run.lines.filter(({ msg }) => msg === 'publish ends').length;
    for (const { part, how } of restarts) {
      const before = published();
      await until(
        'more to be published',
        () => {
          if (!run.alive()) throw new Error(textOf(run));
          return published() >= before + 5;
        },
        { timeoutMs: 180_000, everyMs: 5 },
      );
      await restartPart(dir, part, how === 'killed' ? { signal: 'SIGKILL' } : {});
      t.diagnostic(`${part} ${how} after ${published()} of ${ROWS / ROWS_PER_PIECE} pieces`);
      assert.ok(run.alive(), textOf(run));
    }
    assert.equal(await run.ended(), 0, textOf(run));
    const again = run.printed.filter((line) => line.includes('trying again'));
    t.diagnostic(`${again.length} failures were tried again`);
    assert.ok(again.length >= restarts.length, textOf(run));
    // Three more say that the load has begun, that everything is there, and that it was read.
    assert.ok(published() <= ROWS / ROWS_PER_PIECE + restarts.length + 3, `${published()} publications`);
    const keys = await committedKeys(site, `${site.name}_backfill`);
    assert.equal(new Set(keys).size, keys.length, 'a row is on the topic once');
    assert.equal(keys.length, (await newestLoad(site))?.rows);
    await working.stop();
    return worker;
  }

  it('it goes on by itself, and ends with every row once', { timeout: 600_000 }, async (t) => {
    const site = later(await openSite({ prefix: 'load_restarts', endpoints, settings: SETTINGS }), (made) =>
      made.drop(),
    );
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    await commits.large(ROWS);
    const worker = await underRestarts(t, site, RESTARTS, async () => {
      await commits.mixed();
      await delay(BETWEEN_MS);
    });
    // However quickly the load was done: some of each sort.
    for (let n = 0; n < 2; n++) await commits.mixed();
    await until('the last change', () => isPublished(worker.lines, commits.version));
    await caughtUp(site, 120_000);
    await endsWell(worker);
    const { loaded, later: since } = await loadedChanges(site, commits, (await newestLoad(site))!.version);
    assert.equal(loaded.length, (await newestLoad(site))?.rows);
    const of = (op: Op): number => since.filter((change) => change.op === op).length;
    const shares = { inserts: of('insert'), updates: of('update'), deletes: of('delete') };
    t.diagnostic(`changed meanwhile: ${JSON.stringify(shares)}`);
    assertShares(shares);
    await assertHistory(site, [...loaded, ...since], hint);
  });

  it('one into Delta goes on by itself, too, and both sides end equal', { timeout: 600_000 }, async (t) => {
    const site = later(
      await openSite({ prefix: 'load_restarts_back', endpoints, direction: 'both', settings: SETTINGS }),
      (made) => made.drop(),
    );
    const sides = bothSides(site);
    await sides.older(ROWS);
    const random = seededRandom(seed);
    /** Each side has keys of its own, some of them new; what Delta does not have yet cannot be deleted there. */
    const some = (rest: number): number => Math.floor((random() * (ROWS + 200)) / 7) * 7 + rest;
    const row = (id: number) => ({ id, name: 'live', salary: `${Math.floor(random() * 1000)}.00` });
    const inDelta: number[] = [];
    const people = async (isMerging: () => boolean): Promise<void> => {
      await sides.inPostgres.upsert(row(some(1)), row(some(2)));
      await sides.inPostgres.remove(some(1), some(2));
      await delay(BETWEEN_MS);
      // The load's own statement begins again at each commit of others.
      if (isMerging()) return;
      const written = [some(4), some(5)];
      await sides.inDelta.upsert(...written.map(row));
      inDelta.push(...written);
      if (inDelta.length > 2) await sides.inDelta.remove(...inDelta.splice(0, 1));
    };
    // While the warehouse is away, all that is left is published.
    const worker = await underRestarts(t, site, RESTARTS.slice(0, 3), people, '--from', 'postgres');
    // However quickly the load was done: some on either side.
    for (let n = 0; n < 2; n++) await people(() => false);
    await sides.equal(180_000);
    const deletes = (await sides.onTopic()).filter(({ op }) => op === 'delete').length;
    t.diagnostic(`changed meanwhile: ${JSON.stringify({ ...sides.made, deletes })}; ${hint}`);
    assertShares({ ...sides.made, deletes });
    await sides.assertCrossedOnce();
    await endsWell(worker);
  });
});

interface FoundLoad {
  readonly version: number;
  readonly rows: number;
}

/** The newest load that has chosen its version. */
async function newestLoad(site: Site): Promise<FoundLoad | undefined> {
  const { rows } = await site.pool.query<FoundLoad>(
    `SELECT version::int, published_rows::int AS rows FROM deltaferry.loads
     WHERE version IS NOT NULL ORDER BY started_at DESC LIMIT 1`,
  );
  return rows[0];
}
