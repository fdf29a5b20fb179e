import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { batchesInHand, tally } from '../support/batches.ts';
import { createChangeGenerator, seededRandom } from '../support/change-generator.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { openSite, type Site } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const SESSION_MS = 1500;
const FREEZES = 6;

const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
const hint = `seed ${seed} (set CRASH_SEED)`;
const freeze = ({ pid }: Worker): boolean => process.kill(pid, 'SIGSTOP');
const thaw = ({ pid }: Worker): boolean => process.kill(pid, 'SIGCONT');

/** The newest state that a worker's feed has told. */
const feedState = ({ lines }: Worker): unknown =>
  lines.findLast(({ part }) => String(part).startsWith('delta-feed/'))?.['state'];

describe('a consumer that is frozen through a rebalance', () => {
  let site: Site;
  let proxy: Proxy;
  const workers: Worker[] = [];

  before(async () => {
    site = await openSite({
      prefix: 'zombie_consumer',
      settings: {
        delivery: { sessionTimeoutMs: SESSION_MS, stoppedRetryMs: 1000, lockTimeoutMs: 300 },
        batching: { maxBatchChanges: 300 },
      },
    });
    const { hostname, port } = new URL(site.config.postgres.url);
    proxy = await startProxy({ host: hostname, port: Number(port) });
  });
  after(async () => {
    await Promise.all(workers.map((worker) => worker.kill()));
    await proxy?.close();
    await site?.drop();
  });

  function start(...args: string[]): Worker {
    const worker = startWorker(['--config', site.configFile, '--only', 'postgres-history', ...args]);
    workers.push(worker);
    return worker;
  }

  it('changes nothing when it continues: its transactions are fenced', async (t) => {
    const generator = createChangeGenerator({ seed, table: site.name, keys: 200 });
    const publisher = await site.openPublisher();
    await publisher.publish(generator.next(1000));

    const proxied = new URL(site.config.postgres.url);
    proxied.host = `127.0.0.1:${proxy.port}`;
    let held = false;
    // Its transactions get no further than their first word: none holds a lock that would keep others out.
    const begins = proxy.keepBack((request) => request.includes('BEGIN') && held);
    const zombie = start('--set', `postgres.url=${proxied.href}`);
    await until('the consumer to read', () => zombie.lines.some(({ msg }) => msg === 'offsets claimed'));
    await caughtUp(site, 20_000);
    held = true;
    await publisher.publish(generator.next(2000));
    await until(
      'all partitions to be in hand',
      () => begins.kept() === 4 && batchesInHand(zombie.lines).size === 4,
    );
    const inHand = batchesInHand(zombie.lines);
    freeze(zombie);

    const successor = start();
    await caughtUp(site, 30_000);
    const linesBefore = zombie.lines.length;
    const stateBefore = await everything(site);
    begins.release();
    thaw(zombie);
    await until('the zombie to be told where its partitions stand', () =>
      zombie.lines.slice(linesBefore).some(({ msg }) => msg === 'offsets claimed'),
    );
    await until('the zombie to be a member again', () => joined(zombie.lines.slice(linesBefore)));

    for (const [partition, from] of inHand) {
      const ends = (worker: Worker): LogLine[] =>
        worker.lines.filter(
          (line) => line.msg === 'apply ends' && line['partition'] === partition && line['from'] === from,
        );
      assert.equal(
        ends(zombie).length,
        0,
        `partition ${partition}: the zombie's batch from ${from} came through`,
      );
      assert.ok(successor.lines.some((line) => line.msg === 'apply begins' && line['from'] === from));
    }
    assert.equal(await everything(site), stateBefore, 'the zombie has changed something');

    await publisher.publish(generator.next(1000));
    await publisher.close();
    await caughtUp(site, 20_000);
    for (const worker of [zombie, successor]) assert.equal(await worker.stop(), 0);
    t.diagnostic(`${inHand.size} batches of the zombie were fenced; ${hint}`);
    await assertHistory(site, generator.all, hint);
  });
});

describe('consumers that are frozen at random, one after the other', () => {
  let site: Site;
  const workers: Worker[] = [];

  before(async () => {
    site = await openSite({
      prefix: 'frozen_consumers',
      settings: {
        delivery: { sessionTimeoutMs: SESSION_MS, stoppedRetryMs: 1000, lockTimeoutMs: 300 },
        batching: { maxBatchChanges: 300 },
      },
    });
  });
  after(async () => {
    await Promise.all(workers.map((worker) => worker.kill()));
    await site?.drop();
  });

  it('lose nothing and apply nothing twice', async (t) => {
    const random = seededRandom(seed);
    const generator = createChangeGenerator({ seed: seed + 1, table: site.name, keys: 200 });
    const publisher = await site.openPublisher();
    for (let n = 0; n < 2; n++)
      workers.push(startWorker(['--config', site.configFile, '--only', 'postgres-history']));
    let publishing = true;
    const published = (async () => {
      while (publishing) {
        await publisher.publish(generator.next(100));
        await delay(20);
      }
    })();
    published.catch(() => undefined);
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
    publishing = false;
    await published;
    await publisher.close();
    await caughtUp(site, 30_000);
    for (const worker of workers) assert.equal(await worker.stop(), 0);
    t.diagnostic(`${generator.shares.total} changes, ${FREEZES} freezes: ${tally(phases)}; ${hint}`);
    await assertHistory(site, generator.all, hint);
  });
});

describe('a poller that is frozen inside of a transaction', () => {
  let site: Site;
  const workers: Worker[] = [];

  before(async () => {
    site = await openSite({
      prefix: 'zombie_poller',
      settings: { batching: { maxChangesPerTransaction: 50 }, polling: { maxMs: 50 } },
    });
  });
  after(async () => {
    await Promise.all(workers.map((worker) => worker.kill()));
    await site?.drop();
  });

  it('loses its table to the standby, and its sends are fenced when it continues', async (t: TestContext) => {
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    const start = (): Worker => {
      const worker = startWorker(['--config', site.configFile, '--only', 'delta-feed']);
      workers.push(worker);
      return worker;
    };
    const zombie = start();
    await until('the poller to poll', () => feedState(zombie) === 'polling');
    const standby = start();
    await until('a standby', () => feedState(standby) === 'standby');

    const committed = commits.large(3000);
    await until('the middle of the commit', () => publishing(zombie.lines)?.groups === 500, { everyMs: 1 });
    freeze(zombie);
    const frozenAt = Date.now();
    await committed;
    await until('the standby to take over', () => feedState(standby) === 'polling', { timeoutMs: 20_000 });
    const tookOver = Date.now() - frozenAt;
    await until('everything to be published', () => published(standby.lines, commits.version));
    const linesBefore = zombie.lines.length;
    thaw(zombie);
    await until('the zombie to stand by', () => feedState(zombie) === 'standby');
    await commits.mixed();
    await until('the next commit', () => published(standby.lines, commits.version));
    assert.deepEqual(
      zombie.lines.slice(linesBefore).filter(({ msg }) => msg === 'publish ends'),
      [],
      'a transaction of the zombie came through',
    );

    // It is as good as new all the same.
    await standby.kill();
    await commits.mixed();
    await until('the former zombie to go on', () => published(zombie.lines, commits.version));
    assert.equal(await zombie.stop(), 0);
    t.diagnostic(`taken over ${tookOver} ms after the freeze; ${commits.changes.length} changes; ${hint}`);
    await assertPublished(site, commits, hint);
  });
});

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

/** Whether the group has given it partitions. */
function joined(lines: readonly LogLine[]): boolean {
  return lines.some(({ msg }) => msg === 'Consumer has joined the group');
}

function publishing(lines: readonly LogLine[]): { version: number; groups: number } | undefined {
  const last = lines.findLast(({ msg }) => msg.startsWith('publish '));
  return last?.msg === 'publish begins'
    ? (last['position'] as { version: number; groups: number })
    : undefined;
}

function published(lines: readonly LogLine[], version: number): boolean {
  const last = lines.findLast(({ msg }) => msg === 'publish ends')?.['position'] as
    | { version: number; groups: number }
    | undefined;
  return last?.version === version && last.groups === 0;
}
