import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { endsWell } from '../support/ends-well.ts';
import { batchesInHand, redeliveries, tally } from '../support/batches.ts';
import { createChangeGenerator, seededRandom } from '../support/change-generator.ts';
import { assertHistory, caughtUp, partitionOffsets } from '../support/history-check.ts';
import { assertChangeShares } from '../support/shares.ts';
import { openSite, type Publisher, type Site } from '../support/site.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const KILLS = 20;
const CHANGES_PER_TRANSACTION = 400;
/** Records that may wait for the consumers: enough that a batch is always in hand, no more. */
const MOST_BACKLOG = 6000;

describe('a consumer that is killed again and again', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const later = undoing();
  let site: Site;
  let publisher: Publisher;
  const lines: LogLine[] = [];

  before(async () => {
    site = later(
      await openSite({
        prefix: 'consumer_crashes',
        settings: {
          delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000 },
          batching: { maxBatchChanges: 1000 },
        },
      }),
      (made) => made.drop(),
    );
    publisher = later(await site.openPublisher(), (made) => made.close());
  });

  function start(): Worker {
    const args = ['--config', site.configFile, '--only', 'postgres-history'];
    return later(startWorker(args, { onLine: (line) => lines.push(line) }), (made) => made.kill());
  }

  it('loses nothing and applies nothing twice', { timeout: 600_000 }, async (t) => {
    const generator = createChangeGenerator({ seed, table: site.name, keys: 300 });
    const publishing = repeating(later, async () => {
      if ((await backlog(site)) > MOST_BACKLOG) await delay(50);
      else await publisher.publish(generator.next(CHANGES_PER_TRANSACTION));
    });

    const phases: string[] = [];
    const backends: string[] = [];
    let running: Worker[] = [];
    while (phases.length < KILLS) {
      // One replica for a while, then two, then one again.
      const replicas = Math.floor(phases.length / 6) % 2 === 0 ? 1 : 2;
      while (running.length < replicas) running.push(start());
      const victim = await workingOne(running);
      await aimAt(victim, random);
      const seen = await statements(site);
      await victim.kill();
      phases.push(batchesInHand(victim.lines).size > 0 ? 'mid-batch' : 'between batches');
      backends.push(...seen);
      t.diagnostic(
        `kill ${phases.length}, ${replicas} replicas: ${phases.at(-1)}; backends: ${seen.join(', ') || 'none at work'}`,
      );
      running = running.filter((worker) => worker !== victim);
    }

    await publishing.stop();
    while (running.length < 2) running.push(start());
    await caughtUp(site, 180_000);
    for (const worker of running) await endsWell(worker);

    const again = redeliveries(lines);
    const { total, ...shares } = generator.shares;
    const hint = `seed ${seed} (set CRASH_SEED)`;
    t.diagnostic(
      `${total} changes ${JSON.stringify(shares)}; ${phases.length} kills: ${tally(phases)} ` +
        `(backends just before: ${tally(backends)}); ${again} batches begun again; ${hint}`,
    );
    assertChangeShares(generator.shares);
    assert.ok(phases.filter((phase) => phase === 'mid-batch').length >= KILLS / 2, tally(phases));
    assert.ok(again > 0, 'no batch was begun a second time: the kills hit nothing');
    await assertHistory(site, generator.all, hint);
  });
});

/** One of the workers that has begun to apply, after its first batch. */
function workingOne(running: readonly Worker[]): Promise<Worker> {
  return until(
    'a worker applies',
    () => {
      const dead = running.find((worker) => !worker.alive());
      if (dead !== undefined)
        throw new Error(`a worker ended by itself: ${JSON.stringify(dead.lines.at(-1))}`);
      return running.findLast(({ lines }) => lines.some(({ msg }) => msg === 'apply begins'));
    },
    { timeoutMs: 120_000, everyMs: 2 },
  );
}

/** Waits for a random point: most often somewhere inside of a batch, else anywhere. */
async function aimAt(worker: Worker, random: () => number): Promise<void> {
  if (random() < 0.3) return delay(random() * 300);
  const began = worker.lines.length;
  const skip = Math.floor(random() * 4);
  await until(
    'another batch',
    () => worker.lines.slice(began).filter(({ msg }) => msg === 'apply begins').length > skip,
    { timeoutMs: 5000, everyMs: 1 },
  ).catch(() => undefined);
  await delay(random() * 15);
}

async function backlog(site: Site): Promise<number> {
  return (await partitionOffsets(site)).reduce((sum, { stored, end }) => sum + end - Math.max(stored, 0), 0);
}

/** What the sink's backends with a transaction are doing at this moment, seen from another connection. */
async function statements(site: Site): Promise<string[]> {
  const { rows } = await site.pool.query<{ doing: string }>(
    `SELECT CASE WHEN state = 'active' THEN substring(query FROM '\\w+') ELSE state END AS doing
     FROM pg_stat_activity WHERE application_name = left($1, 63) AND xact_start IS NOT NULL ORDER BY 1`,
    [site.applicationName('postgres-history')],
  );
  return rows.map(({ doing }) => doing);
}
