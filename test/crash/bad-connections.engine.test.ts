import { randomBytes } from 'node:crypto';
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Change } from '../../src/change/change.ts';
import { startBroker } from '../support/broker.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { endsWell } from '../support/ends-well.ts';
import { isPublished } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { peakMemory } from '../support/memory.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { healthOf, urlOf } from '../support/service.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { testStack } from '../support/stack.ts';
import { assertPublished } from '../support/topic-check.ts';
import { undoing, type Later } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
const hint = `seed ${seed} (set CRASH_SEED)`;
const LIMIT = { timeout: 600_000 };
const MOST_MB = 512;

/** A service of which one connection passes a proxy. */
interface Crossing {
  readonly site: Site;
  readonly proxy: Proxy;
  /** What makes the service go that way. */
  readonly settings: readonly string[];
}

const SETTINGS = {
  delivery: { sessionTimeoutMs: 10_000, stoppedRetryMs: 1000, lockTimeoutMs: 500 },
  batching: { maxBatchChanges: 1000, maxChangesPerTransaction: 2000 },
  polling: { minMs: 100, maxMs: 1000 },
};

/** So that everything is in many small pieces. */
const QUICK = {
  delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000, lockTimeoutMs: 500 },
  batching: { maxBatchChanges: 300, maxChangesPerTransaction: 100 },
  polling: { minMs: 100, maxMs: 1000 },
};

const openOwn = async (later: Later, name: string): Promise<Site> =>
  later(await openSite({ prefix: `bad_${name}`, settings: SETTINGS }), (made) => made.drop());

const proxyTo = async (later: Later, address: string): Promise<Proxy> => {
  const { hostname, port } = new URL(address);
  return later(await startProxy({ host: hostname, port: Number(port) }), (made) => made.close());
};

const through = (proxy: Proxy, address: string): string => {
  const url = new URL(address);
  url.host = `127.0.0.1:${proxy.port}`;
  return url.href;
};

const CROSSINGS: Readonly<Record<string, (later: Later) => Promise<Crossing>>> = {
  async postgres(later) {
    const site = await openOwn(later, 'postgres');
    const { url } = site.config.postgres;
    const proxy = await proxyTo(later, url);
    return { site, proxy, settings: [`postgres.url=${through(proxy, url)}`] };
  },
  async warehouse(later) {
    const site = await openOwn(later, 'warehouse');
    const { host, port } = site.config.databricks;
    const proxy = await proxyTo(later, `https://${host}:${port}`);
    return { site, proxy, settings: [`databricks.port=${proxy.port}`] };
  },
  async registry(later) {
    const site = await openOwn(later, 'registry');
    const { url } = site.config.registry;
    const proxy = await proxyTo(later, url);
    return { site, proxy, settings: [`registry.url=${through(proxy, url)}`] };
  },
  async broker(later) {
    let proxy: Proxy | undefined;
    // Clients go where a broker tells them to: the shared one would lead them past the proxy.
    const advertise = async (port: number): Promise<number> => {
      proxy = await proxyTo(later, `kafka://127.0.0.1:${port}`);
      return proxy.port;
    };
    const broker = later(
      await startBroker({ listeners: [{ name: 'CROSSING', protocol: 'PLAINTEXT', advertise }] }),
      (made) => made.stop(),
    );
    const site = later(
      await openSite({
        prefix: 'bad_broker',
        settings: SETTINGS,
        endpoints: { ...testStack(), kafka: { brokers: [broker.plain] } },
      }),
      (made) => made.drop(),
    );
    return { site, proxy: proxy!, settings: [`kafka.brokers=${broker.address('CROSSING')}`] };
  },
};

interface Trouble {
  readonly name: string;
  readonly set: (proxy: Proxy, on: boolean) => void;
  /** How long it lasts; null: until everything has arrived in spite of it. */
  readonly ms: number | null;
  /** Rows of a commit beside the small one that is made meanwhile. */
  readonly rows: number;
}

const TROUBLES: readonly Trouble[] = [
  // There and back: half a second for every answer.
  { name: 'slow', set: (proxy, on) => proxy.slow(on ? 250 : 0), ms: null, rows: 0 },
  { name: 'refusing', set: (proxy, on) => proxy.refuse(on), ms: 3000, rows: 0 },
  {
    name: 'losing answers',
    set: (proxy, on) => {
      if (on) proxy.loseAnswers(3);
    },
    ms: null,
    rows: 0,
  },
  { name: 'hanging', set: (proxy, on) => proxy.hang(on), ms: 30_000, rows: 10_000 },
];

// Side by side: it is waiting that they do most of the time.
describe('connections in trouble', { concurrency: true }, () => {
  const later = undoing();

  for (const [name, open] of Object.entries(CROSSINGS))
    it(
      `${name} is slow, refuses, loses answers and hangs for 30 s: all arrives exactly once, in bounded memory`,
      LIMIT,
      async (t) => {
        const { site, proxy, settings } = await open(later);
        const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
        const start = (more: readonly string[]): Worker =>
          later(startWorker(['--config', site.configFile, ...more]), (made) => made.kill());
        const crossing = (): Worker => start(settings.flatMap((setting) => ['--set', setting]));
        const arrived = async (by: Worker): Promise<void> => {
          await until('the commits to be published', () => isPublished(by.lines, commits.version), {
            timeoutMs: 180_000,
          });
          await caughtUp(site, 180_000);
        };
        let worker = crossing();
        let peak = 0;
        const note = (): void => {
          peak = Math.max(peak, peakMemory(worker.pid) ?? 0);
        };
        await commits.mixed();
        await arrived(worker);

        for (const { name: trouble, set, ms, rows } of TROUBLES) {
          if (name === 'registry') {
            // It is asked by who starts: by the sink for what is on the topic, by the feed for what it will write.
            note();
            await endsWell(worker);
            const feeder = start(['--only', 'delta-feed']);
            await commits.large(rows + 100);
            await until('the feeder', () => isPublished(feeder.lines, commits.version));
            await endsWell(feeder);
          }
          const began = Date.now();
          set(proxy, true);
          if (name === 'registry') worker = crossing();
          await commits.mixed();
          if (name !== 'registry' && rows > 0) await commits.large(rows);
          if (ms !== null) await delay(Math.max(0, ms - (Date.now() - began)));
          // It is alive, and says so to whoever watches it.
          const { status } = await healthOf(await urlOf(worker.lines)).readyz();
          assert.ok([200, 503].includes(status));
          if (ms === null) await arrived(worker);
          const ends = Date.now();
          set(proxy, false);
          if (ms !== null) await arrived(worker);
          note();
          t.diagnostic(
            `${trouble} for ${ends - began} ms: all had arrived ${Date.now() - ends} ms later; ` +
              `peak ${peak} MB, readiness was ${status}`,
          );
        }
        for (let n = 0; n < 2; n++) await commits.mixed();
        await arrived(worker);
        await endsWell(worker);
        assert.ok(peak < MOST_MB, `${peak} MB`);
        assert.ok(proxy.lost > 0, 'no answer was lost');
        t.diagnostic(`${proxy.lost} answers lost`);
        assertShares(commits.shares);
        const changes = await assertPublished(site, commits, hint);
        await assertHistory(site, changes, hint);
      },
    );

  it('several at once: everything arrives exactly once when they mend', LIMIT, async (t) => {
    const site = later(await openSite({ prefix: 'bad_connections', settings: QUICK }), (made) => made.drop());
    const { config } = site;
    const postgres = await proxyTo(later, config.postgres.url);
    const registry = await proxyTo(later, config.registry.url);
    const databricks = later(await startProxy(config.databricks), (made) => made.close());
    const all = [postgres, registry, databricks];
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    const worker = later(
      startWorker([
        '--config',
        site.configFile,
        '--set',
        `postgres.url=${through(postgres, config.postgres.url)}`,
        '--set',
        `registry.url=${through(registry, config.registry.url)}`,
        '--set',
        `databricks.port=${databricks.port}`,
      ]),
      (made) => made.kill(),
    );
    const TROUBLES: Record<string, (on: boolean) => void> = {
      'answers lost': (on) => {
        if (on) for (const proxy of all) proxy.loseAnswers(5);
      },
      slow: (on) => all.forEach((proxy) => proxy.slow(on ? 80 : 0)),
      cut: (on) => {
        if (on) for (const proxy of all) proxy.cut();
      },
      refusing: (on) => all.forEach((proxy) => proxy.refuse(on)),
      hanging: (on) => all.forEach((proxy) => proxy.hang(on)),
    };
    await commits.mixed();
    await until('the first commit to arrive', () => isPublished(worker.lines, commits.version));
    for (const [name, trouble] of Object.entries(TROUBLES)) {
      trouble(true);
      await commits.mixed();
      await commits.large(300);
      await delay(name === 'hanging' ? 4000 : 1000);
      trouble(false);
      const began = Date.now();
      await commits.mixed();
      await until(`the commits to arrive after ${name}`, () => isPublished(worker.lines, commits.version), {
        timeoutMs: 180_000,
      });
      await caughtUp(site, 180_000);
      t.diagnostic(`${name}: everything had arrived ${Date.now() - began} ms after it was over`);
    }
    assertShares(commits.shares);
    const changes = await assertPublished(site, commits, hint);
    await assertHistory(site, changes, hint);
    const peak = peakMemory(worker.pid);
    await endsWell(worker);
    t.diagnostic(
      `${all.reduce((sum, { lost }) => sum + lost, 0)} answers lost; ${commits.changes.length} changes; peak ${peak ?? '-'} MB; ${hint}`,
    );
  });

  it('Postgres hangs for 30 s before a backlog: memory stays bounded, and it recovers', LIMIT, async (t) => {
    const BACKLOG_MB = 160;
    const ROW_BYTES = 4000;
    const site = later(await openSite({ prefix: 'hanging', settings: QUICK }), (made) => made.drop());
    const proxy = await proxyTo(later, site.config.postgres.url);
    const publisher = later(await site.openPublisher(), (made) => made.close());
    const worker = later(
      startWorker([
        '--config',
        site.configFile,
        '--only',
        'postgres-history',
        '--set',
        `postgres.url=${through(proxy, site.config.postgres.url)}`,
      ]),
      (made) => made.kill(),
    );
    const wide = (id: number): Change => ({
      op: 'insert',
      key: String(id),
      before: null,
      // What compression cannot make small.
      after: [id, randomBytes(ROW_BYTES / 2).toString('hex'), '1.00'],
      origin: 'delta',
      table: site.name,
      position: id,
      ts: (Date.now() - 60_000) * 1000 + id,
      tx: null,
      load: null,
    });
    const all: Change[] = [];
    const publish = async (count: number): Promise<void> => {
      const changes = Array.from({ length: count }, (_, n) => wide(all.length + n));
      all.push(...changes);
      await publisher.publish(changes);
    };
    for (let n = 0; n < 10; n++) await publish(500);
    await caughtUp(site, 180_000);
    const before = peakMemory(worker.pid);
    const hungSince = Date.now();
    proxy.hang(true);
    while (all.length * ROW_BYTES < BACKLOG_MB * 1e6) await publish(500);
    await delay(Math.max(0, 30_000 - (Date.now() - hungSince)));
    const whileHanging = peakMemory(worker.pid);
    proxy.hang(false);
    await caughtUp(site, 180_000);
    const peak = peakMemory(worker.pid);
    t.diagnostic(
      `peak memory ${before} MB before, ${whileHanging} MB after 30 s with ${BACKLOG_MB} MB waiting, ${peak} MB at the end`,
    );
    await endsWell(worker);
    if (before !== null && whileHanging !== null && peak !== null) {
      assert.ok(whileHanging - before < BACKLOG_MB / 2, `${before} → ${whileHanging} MB`);
      assert.ok(peak < 512, `${peak} MB`);
    }
    await assertHistory(site, all, hint);
  });
});
