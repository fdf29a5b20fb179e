import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  restartPart,
  stackStatus,
  startStack,
  stopStack,
  type Endpoints,
  type PartName,
} from '../../src/stack/stack.ts';
import { batchesInHand, redeliveries, tally } from '../support/batches.ts';
import { endsWell } from '../support/ends-well.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { publishedUpTo, publishingNow } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { publishedAgain } from '../support/log-progress.ts';
import { peakMemory } from '../support/memory.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';
import { enginesForTests } from '../support/engines-jvm.ts';

const RESTARTS: readonly { readonly part: PartName; readonly how: 'killed' | 'restarted' }[] = [
  { part: 'kafka', how: 'killed' },
  { part: 'postgres', how: 'restarted' },
  { part: 'warehouse', how: 'killed' },
  { part: 'kafka', how: 'restarted' },
  { part: 'postgres', how: 'killed' },
  { part: 'warehouse', how: 'restarted' },
];

/** The service shares the machine with whoever commits. */
const BETWEEN_COMMITS_MS = 1000;

describe('engines that are restarted under a running service', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const hint = `seed ${seed} (set CRASH_SEED)`;
  const later = undoing();
  const dir = later(mkdtempSync(join(tmpdir(), 'deltaferry-restarts-')), (made) =>
    rm(made, { recursive: true, force: true }),
  );
  // Everybody may enter it: as root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  let workers: readonly Worker[] = [];
  let endpoints: Endpoints;
  let site: Site;

  before(async () => {
    enginesForTests();
    later(dir, () => stopStack({ dir, wipe: true }));
    endpoints = await startStack({ dir, ownerPid: process.pid, wipeWithOwner: true });
    site = later(
      await openSite({
        prefix: 'engine_restarts',
        endpoints,
        settings: {
          delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000 },
          batching: { maxChangesPerTransaction: 100 },
          // Asking Delta all the time would leave nothing of the machine to whoever commits.
          polling: { minMs: 200, maxMs: 1000 },
        },
      }),
      (made) => made.drop(),
    );
  });
  it('it loses nothing, repeats nothing and never ends', { timeout: 900_000 }, async (t) => {
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    workers = [1, 2].map(() => later(startWorker(['--config', site.configFile]), (made) => made.kill()));
    const committing = repeating(later, async (n) => {
      await (n % 4 === 3 ? commits.large(500) : commits.mixed());
      await delay(BETWEEN_COMMITS_MS);
    });
    await until('the service to run', () => publishedVersion(workers) >= 2, { timeoutMs: 120_000 });

    const recoveries: string[] = [];
    /** Until a commit that was made afterwards is published: everybody works again. */
    const recovered = async (what: string): Promise<void> => {
      const began = Date.now();
      const { version } = commits;
      await until(
        `commits to be published again after ${what}`,
        () => publishedVersion(workers) > version + 1,
        {
          timeoutMs: 240_000,
        },
      );
      recoveries.push(`${what} ${((Date.now() - began) / 1000).toFixed(1)} s`);
      t.diagnostic(`${what}: commits published again after ${Date.now() - began} ms`);
    };
    const phases: string[] = [];
    for (const { part, how } of RESTARTS) {
      await until('work in hand', () => phaseOf(workers) !== 'idle', { everyMs: 10 });
      phases.push(phaseOf(workers));
      const now = await restartPart(dir, part, how === 'killed' ? { signal: 'SIGKILL' } : {});
      assert.deepEqual(now, endpoints, 'the engine is back where it was');
      await recovered(`${part} ${how}`);
    }
    const broker = (await stackStatus({ dir })).parts.find(({ part }) => part === 'kafka')!.pid!;
    process.kill(broker, 'SIGSTOP');
    await delay(4000);
    process.kill(broker, 'SIGCONT');
    await recovered('kafka hung');

    await committing.stop();
    await until('everything to be published', () => publishedVersion(workers) === commits.version, {
      timeoutMs: 180_000,
    });
    await caughtUp(site, 180_000);
    const peaks = workers.map(({ pid }) => peakMemory(pid));
    for (const worker of workers) {
      await endsWell(worker);
    }
    const lines = workers.flatMap((worker) => worker.lines);
    const again = redeliveries(lines) + publishedAgain(lines);
    t.diagnostic(
      `${commits.version} commits, ${commits.changes.length} changes; well again after: ${recoveries.join(', ')}; ` +
        `hit while ${tally(phases)}; ${again} batches begun again; peak memory ${peaks.join(' and ')} MB; ${hint}`,
    );
    assert.ok(again > 0, 'nothing was done a second time: the restarts hit nothing');
    assertShares(commits.shares);
    assert.ok(peaks.every((peak) => peak === null || peak < 512));
    const changes = await assertPublished(site, commits, hint);
    await assertHistory(site, changes, hint);
  });
});

/** The newest version that one of the workers has published as a whole. */
function publishedVersion(workers: readonly Worker[]): number {
  return Math.max(...workers.map(({ lines }) => publishedUpTo(lines)?.version ?? -1));
}

function phaseOf(workers: readonly Worker[]): string {
  const publishing = workers.some(({ lines }) => publishingNow(lines) !== undefined);
  const applying = workers.some(({ lines }) => batchesInHand(lines).size > 0);
  return [publishing && 'publishing', applying && 'applying'].filter(Boolean).join(' and ') || 'idle';
}
