import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Role } from '../../src/service/run.ts';
import { endsWell } from '../support/ends-well.ts';
import { tally } from '../support/batches.ts';
import { seededRandom } from '../support/change-generator.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { isPublished, publishingNow } from '../support/feed-progress.ts';
import { publishedAgain } from '../support/log-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const KILLS = 12;
const MOST_CHANGES_PER_TRANSACTION = 100;
/** Spans that many transactions over a hundred. */
const LARGE_COMMIT = 2000;

describe('a poller that is killed again and again, with a standby', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const later = undoing();
  let site: Site;
  const workers: Worker[] = [];

  before(async () => {
    site = later(
      await openSite({
        prefix: 'feed_crashes',
        settings: {
          batching: { maxChangesPerTransaction: MOST_CHANGES_PER_TRANSACTION },
          polling: { maxMs: 50 },
        },
      }),
      (made) => made.drop(),
    );
  });

  function start(role: Role): Worker {
    const args = ['--config', site.configFile, '--only', role];
    return later(startWorker(args), (made) => made.kill());
  }

  function startFeed(): Worker {
    const worker = start('delta-feed');
    workers.push(worker);
    return worker;
  }

  it('publishes each change exactly once', { timeout: 600_000 }, async (t) => {
    const hint = `seed ${seed} (set CRASH_SEED)`;
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    const committing = repeating(later, (n) => (n % 3 === 0 ? commits.large(LARGE_COMMIT) : commits.mixed()));

    let active = startFeed();
    let standby = startFeed();
    // Whichever was first.
    const first = await until('one of the two opens the log', () =>
      [active, standby].find((worker) => opened(worker) !== undefined),
    );
    if (first !== active) [active, standby] = [standby, active];

    const phases: string[] = [];
    const takeovers: number[] = [];
    while (phases.length < KILLS) {
      await until('a standby', () => standby.lines.some(({ state }) => state === 'standby'));
      await aimAt(active, random);
      const killedAt = Date.now();
      await active.kill();
      phases.push(phaseOf(active.lines));
      const line = await until('the standby to take over', () => opened(standby), { timeoutMs: 60_000 });
      takeovers.push(Date.parse(String(line['time'])) - killedAt);
      t.diagnostic(`kill ${phases.length}: ${phases.at(-1)}; taken over after ${takeovers.at(-1)} ms`);
      active = standby;
      standby = startFeed();
    }

    await committing.stop();
    await until(
      'everything is published',
      () => workers.some(({ lines }) => isPublished(lines, commits.version)),
      {
        timeoutMs: 180_000,
      },
    );
    for (const worker of [active, standby]) await endsWell(worker);

    const again = publishedAgain(workers.flatMap(({ lines }) => lines));
    t.diagnostic(
      `${commits.version} commits, ${commits.changes.length} changes, ${JSON.stringify(commits.shares)}; ` +
        `${phases.length} kills: ${tally(phases)}; taken over after ${Math.min(...takeovers)} to ${Math.max(...takeovers)} ms; ${again} publications begun again; ${hint}`,
    );
    assert.ok(phases.filter((phase) => phase !== 'between transactions').length >= KILLS / 2, tally(phases));
    assert.ok(phases.includes('inside of a large commit'), tally(phases));
    assert.ok(again > 0, 'nothing was published a second time: the kills hit nothing');
    assertShares(commits.shares);
    const changes = await assertPublished(site, commits, hint);
    const sink = start('postgres-history');
    await caughtUp(site, 60_000);
    await endsWell(sink);
    await assertHistory(site, changes, hint);
  });
});

function opened(worker: Worker): LogLine | undefined {
  return worker.lines.find(({ msg }) => msg === 'log opened');
}

/** Waits for a random point: most often somewhere inside of a transaction, else anywhere. */
async function aimAt(worker: Worker, random: () => number): Promise<void> {
  if (random() < 0.25) return delay(random() * 1000);
  const began = worker.lines.length;
  const skip = Math.floor(random() * 12);
  await until(
    'another transaction',
    () => worker.lines.slice(began).filter(({ msg }) => msg === 'publish begins').length > skip,
    { timeoutMs: 90_000, everyMs: 1 },
  );
  await delay(random() * 8);
}

function phaseOf(lines: readonly LogLine[]): string {
  const inHand = publishingNow(lines);
  if (inHand === undefined) return 'between transactions';
  return inHand.groups > 0 ? 'inside of a large commit' : 'inside of a transaction';
}
