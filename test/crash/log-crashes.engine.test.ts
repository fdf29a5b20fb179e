import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { endsWell } from '../support/ends-well.ts';
import { tally } from '../support/batches.ts';
import { seededRandom } from '../support/change-generator.ts';
import { historyWriters } from '../support/history-writers.ts';
import { isAcknowledged, logPhase, progressOf, publishedAgain } from '../support/log-progress.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const KILLS = 20;
const WRITERS = 5;
const CHANGES_PER_TRANSACTION = 50;
/** Spans that many Kafka transactions over a score. */
const LARGE_TRANSACTION = 1000;

describe('a log poller that is killed again and again', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const hint = `seed ${seed} (set CRASH_SEED)`;
  const random = seededRandom(seed);
  const later = undoing();
  const lines: LogLine[] = [];
  const workers: Worker[] = [];
  let site: Site;

  before(async () => {
    site = later(
      await openSite({
        prefix: 'log_crashes',
        direction: 'both',
        settings: {
          batching: { maxChangesPerTransaction: CHANGES_PER_TRANSACTION },
          polling: { maxMs: 50 },
        },
      }),
      (made) => made.drop(),
    );
  });

  function start(): Worker {
    const args = ['--config', site.configFile, '--only', 'postgres-log'];
    const worker = later(startWorker(args, { onLine: (line) => lines.push(line) }), (made) => made.kill());
    workers.push(worker);
    return worker;
  }

  it('publishes every committed change exactly once, per key in order', { timeout: 600_000 }, async (t) => {
    const writers = await historyWriters(site, seed);
    const writing = writers.start(later, WRITERS);
    const phases: string[] = [];
    const takeovers: number[] = [];
    let running = [start()];
    let active = await opened(running);
    while (phases.length < KILLS) {
      // Alone for a while, then with a standby, then alone again.
      const replicas = Math.floor(phases.length / 6) % 2 === 0 ? 1 : 2;
      while (running.length < replicas) running.push(start());
      if (random() < 0.2) await delay(random() * 500);
      else await midWindow(active, () => writers.large(LARGE_TRANSACTION), random);
      const killedAt = Date.now();
      await active.kill();
      phases.push(logPhase(active.lines));
      running = running.filter((worker) => worker !== active);
      while (running.length < 1) running.push(start());
      active = await opened(running);
      takeovers.push(Date.now() - killedAt);
      t.diagnostic(
        `kill ${phases.length}, ${replicas} replicas: ${phases.at(-1)}; goes on after ${takeovers.at(-1)} ms`,
      );
    }

    await writing.stop();
    const last = await writers.last();
    await until('everything to be published', () => isAcknowledged(workers, last), { timeoutMs: 180_000 });
    for (const worker of running) await endsWell(worker);

    const again = publishedAgain(lines);
    const middle = phases.filter((phase) => phase !== 'between windows').length;
    t.diagnostic(
      `${writers.committed.length} changes ${JSON.stringify(writers.shares)}; ${phases.length} kills: ${tally(phases)}; ` +
        `goes on after ${Math.min(...takeovers)} to ${Math.max(...takeovers)} ms; ${again} publications begun again; ${hint}`,
    );
    // Giving up is rare.
    const { givenUp: _, ...shares } = writers.shares;
    assertShares(shares);
    assert.ok(middle >= KILLS / 2, tally(phases));
    assert.ok(again > 0, 'nothing was published a second time: the kills hit nothing');
    await writers.assertPublishedOnce(hint);
  });
});

/** The one of them that has the log open, once there is one. */
function opened(running: readonly Worker[]): Promise<Worker> {
  return until(
    'a worker to open the log',
    () => {
      const dead = running.find((worker) => !worker.alive());
      if (dead !== undefined)
        throw new Error(`a worker ended by itself: ${JSON.stringify(dead.lines.at(-1))}`);
      return running.find(({ lines }) => lines.some(({ msg }) => msg === 'log opened'));
    },
    { timeoutMs: 60_000, everyMs: 5 },
  );
}

/** Waits for a random point inside of a window that is published in parts. */
async function midWindow(
  { lines }: Worker,
  change: () => Promise<void>,
  random: () => number,
): Promise<void> {
  const began = lines.length;
  const skip = Math.floor(random() * 12);
  await change();
  await until(
    'parts of a window',
    () =>
      lines.slice(began).filter((line) => line.msg === 'publish begins' && progressOf(line)?.target !== null)
        .length > skip,
    { timeoutMs: 60_000, everyMs: 1 },
  );
  await delay(random() * 8);
}
