import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { endsWell } from '../support/ends-well.ts';
import { batchesInHand, redeliveries, tally } from '../support/batches.ts';
import { createChangeGenerator, seededRandom } from '../support/change-generator.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { feedState, isPublished, publishingNow } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { startProxy } from '../support/proxy.ts';
import { assertChangeShares, assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const SESSION_MS = 1500;
const FREEZES = 6;
const LIMIT = { timeout: 600_000 };
const CONSUMERS = {
  delivery: { sessionTimeoutMs: SESSION_MS, stoppedRetryMs: 1000, lockTimeoutMs: 300 },
  batching: { maxBatchChanges: 300 },
};

const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
const hint = `seed ${seed} (set CRASH_SEED)`;
const freeze = ({ pid }: Worker): boolean => process.kill(pid, 'SIGSTOP');
const thaw = ({ pid }: Worker): boolean => process.kill(pid, 'SIGCONT');

describe('a consumer that is frozen through a rebalance', () => {
  const later = undoing();

  it('changes nothing when it continues: its transactions are fenced', LIMIT, async (t) => {
    const site = later(await openSite({ prefix: 'zombie_consumer', settings: CONSUMERS }), (made) =>
      made.drop(),
    );
    const url = new URL(site.config.postgres.url);
    const proxy = later(await startProxy({ host: url.hostname, port: Number(url.port) }), (made) =>
      made.close(),
    );
    url.host = `127.0.0.1:${proxy.port}`;
    const start = (...args: string[]): Worker => {
      const all = ['--config', site.configFile, '--only', 'postgres-history', ...args];
      return later(startWorker(all), (made) => made.kill());
    };
    const generator = createChangeGenerator({ seed, table: site.name, keys: 200 });
    const publisher = later(await site.openPublisher(), (made) => made.close());
    await publisher.publish(generator.next(1000));
    const zombie = start('--set', `postgres.url=${url.href}`);
    await caughtUp(site, 180_000);

    // Its transactions get no further than their first word: none holds a lock that would keep others out.
    const begins = proxy.keepBack((request) => request.includes('BEGIN'));
    await publisher.publish(generator.next(2000));
    await until(
      'all partitions to be in hand',
      () => begins.kept() === 4 && batchesInHand(zombie.lines).size === 4,
    );
    const inHand = batchesInHand(zombie.lines);
    freeze(zombie);
    const successor = start();
    await caughtUp(site, 180_000);
    const before = await everything(site);
    const linesBefore = zombie.lines.length;
    begins.release();
    thaw(zombie);
    await until('the zombie to be told where its partitions stand', () =>
      zombie.lines.slice(linesBefore).some(({ msg }) => msg === 'offsets claimed'),
    );
    await until('the zombie to be a member again', () => hasJoined(zombie.lines.slice(linesBefore)));

    for (const [partition, from] of inHand) {
      const has = ({ lines }: Worker, msg: string): boolean =>
        lines.some((line) => line.msg === msg && line['partition'] === partition && line['from'] === from);
      assert.ok(
        !has(zombie, 'apply ends'),
        `partition ${partition}: the zombie's batch from ${from} came through`,
      );
      assert.ok(has(successor, 'apply ends'), `partition ${partition}: nobody has taken over at ${from}`);
    }
    assert.equal(await everything(site), before, 'the zombie has changed something');

    await publisher.publish(generator.next(1000));
    await caughtUp(site, 180_000);
    for (const worker of [zombie, successor]) await endsWell(worker);
    t.diagnostic(`${inHand.size} batches of the zombie were fenced; ${hint}`);
    assertChangeShares(generator.shares);
    await assertHistory(site, generator.all, hint);
  });
});

describe('consumers that are frozen at random, one after the other', () => {
  const later = undoing();

  it('lose nothing and apply nothing twice', LIMIT, async (t) => {
    const site = later(await openSite({ prefix: 'frozen_consumers', settings: CONSUMERS }), (made) =>
      made.drop(),
    );
    const random = seededRandom(seed);
    const generator = createChangeGenerator({ seed: seed + 1, table: site.name, keys: 200 });
    const publisher = later(await site.openPublisher(), (made) => made.close());
    const workers = [1, 2].map(() =>
      later(startWorker(['--config', site.configFile, '--only', 'postgres-history']), (made) => made.kill()),
    );
    const publishing = repeating(later, async () => {
      await publisher.publish(generator.next(100));
      await delay(20);
    });
    const phases: string[] = [];
    while (phases.length < FREEZES) {
      const victim = workers[phases.length % 2]!;
      const began = victim.lines.length;
      await until('a batch', () => victim.lines.slice(began).some(({ msg }) => msg === 'apply begins'), {
        everyMs: 1,
      });
      await delay(random() * 10);
      freeze(victim);
      // Longer than the session: the group gives its partitions away meanwhile.
      await delay(SESSION_MS + 300 + random() * 700);
      phases.push(batchesInHand(victim.lines).size > 0 ? 'mid-batch' : 'between batches');
      thaw(victim);
    }
    await publishing.stop();
    await caughtUp(site, 180_000);
    for (const worker of workers) await endsWell(worker);
    const again = redeliveries(workers.flatMap(({ lines }) => lines));
    t.diagnostic(
      `${generator.shares.total} changes, ${FREEZES} freezes: ${tally(phases)}; ${again} batches begun again; ${hint}`,
    );
    assert.ok(again > 0, 'no batch was begun a second time: nobody took over');
    assertChangeShares(generator.shares);
    await assertHistory(site, generator.all, hint);
  });
});

describe('a poller that is frozen inside of a transaction', () => {
  const later = undoing();

  it('loses its table to the standby, and its sends are fenced when it continues', LIMIT, async (t) => {
    const settings = { batching: { maxChangesPerTransaction: 50 }, polling: { maxMs: 200 } };
    const site = later(await openSite({ prefix: 'zombie_poller', settings }), (made) => made.drop());
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    const start = (): Worker =>
      later(startWorker(['--config', site.configFile, '--only', 'delta-feed']), (made) => made.kill());
    const zombie = start();
    await until('the poller to poll', () => feedState(zombie.lines) === 'polling');
    // Of every sort a few: the large one has inserts only.
    for (let n = 0; n < 5; n++) await commits.mixed();
    const standby = start();
    await until('a standby', () => feedState(standby.lines) === 'standby');

    const committed = commits.large(3000);
    await until('the middle of the commit', () => publishingNow(zombie.lines)?.groups === 500, {
      everyMs: 1,
    });
    freeze(zombie);
    const frozenAt = Date.now();
    await committed;
    await until('the standby to take over', () => feedState(standby.lines) === 'polling', {
      timeoutMs: 60_000,
    });
    const tookOver = Date.now() - frozenAt;
    await until('everything to be published', () => isPublished(standby.lines, commits.version));
    const linesBefore = zombie.lines.length;
    thaw(zombie);
    await until('the zombie to stand by', () => feedState(zombie.lines) === 'standby');
    await commits.mixed();
    await until('the next commit', () => isPublished(standby.lines, commits.version));
    assert.deepEqual(
      zombie.lines.slice(linesBefore).filter(({ msg }) => msg === 'publish ends'),
      [],
      'a transaction of the zombie came through',
    );

    // It is as good as new all the same.
    await standby.kill();
    await commits.mixed();
    await until('the former zombie to go on', () => isPublished(zombie.lines, commits.version));
    await endsWell(zombie);
    t.diagnostic(`taken over ${tookOver} ms after the freeze; ${commits.changes.length} changes; ${hint}`);
    assertShares(commits.shares);
    await assertPublished(site, commits, hint);
  });
});

/** Whether the group has given it partitions. */
function hasJoined(lines: readonly LogLine[]): boolean {
  return lines.some(({ msg }) => msg === 'Consumer has joined the group');
}

/** Every row as it lies there, with the transaction that wrote it. */
async function everything({ pool }: Site): Promise<string> {
  const { rows } = await pool.query<{ all: string }>(
    `SELECT concat(
       (SELECT string_agg(concat(h.xmin, h.*::text), ';' ORDER BY emp_id, on_date) FROM public.employees h),
       (SELECT string_agg(concat(o.xmin, o.*::text), ';' ORDER BY partition) FROM deltaferry.offsets o),
       (SELECT string_agg(concat(d.xmin, d.*::text), ';' ORDER BY key, ts) FROM deltaferry.orphan_deletes d)) AS all`,
  );
  return rows[0]!.all;
}
