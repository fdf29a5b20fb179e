import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { answers } from '../../src/stack/ports.ts';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  killPart, startPart,
  stackStatus,
  startStack,
  stopStack,
  type Endpoints,
  type PartName,
} from '../../src/stack/stack.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { peakMemory } from '../support/memory.ts';
import { openSite, type Site } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const RESTARTS: readonly { readonly part: PartName; readonly how: 'killed' | 'restarted' }[] = [
  { part: 'warehouse', how: 'killed' },
  { part: 'kafka', how: 'restarted' },
  { part: 'postgres', how: 'killed' },
  { part: 'warehouse', how: 'restarted' },
];

describe('engines that are restarted under a running service', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const hint = `seed ${seed} (set CRASH_SEED)`;
  const dir = mkdtempSync(join(tmpdir(), 'deltaferry-restarts-'));
  // Everybody may enter it: as root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  const workers: Worker[] = [];
  let endpoints: Endpoints;
  let site: Site;

  before(async () => {
    process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= '-XX:TieredStopAtLevel=1';
    endpoints = await startStack({ dir, ownerPid: process.pid, wipeWithOwner: true });
    site = await openSite({
      prefix: 'engine_restarts',
      endpoints,
      settings: {
        delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000 },
        batching: { maxChangesPerTransaction: 100 },
        polling: { maxMs: 50 },
      },
    });
  });
  after(async () => {
    await Promise.all(workers.map((worker) => worker.kill()));
    await site?.pool.end();
    await site?.warehouse.close();
    await stopStack({ dir, wipe: true });
    await rm(dir, { recursive: true, force: true });
  });

  it('it loses nothing, repeats nothing and never ends', async (t) => {
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    for (let n = 0; n < 2; n++) workers.push(startWorker(['--config', site.configFile]));
    let committing = true;
    const committed = (async () => {
      for (let n = 0; committing; n++) await (n % 4 === 3 ? commits.large(500) : commits.mixed());
    })();
    committed.catch(() => undefined);
    await until('the service to run', () => publishedVersion(workers) >= 2, { timeoutMs: 60_000 });

    const recoveries: string[] = [];
    /** Until a commit that was made afterwards is published: everybody works again. */
    const recovered = async (what: string): Promise<void> => {
      const began = Date.now();
      const { version } = commits;
      await until(
        `commits to be published again after ${what}`,
        () => publishedVersion(workers) > version + 1,
        {
          timeoutMs: 90_000,
        },
      );
      recoveries.push(`${what} ${((Date.now() - began) / 1000).toFixed(1)} s`);
      t.diagnostic(`${what}: commits published again after ${Date.now() - began} ms`);
    };
    for (const { part, how } of RESTARTS) {
      if (how === 'killed') await killPart(dir, part); else await killPart(dir, part, { signal: part === 'postgres' ? 'SIGINT' : 'SIGTERM' });
      const port = part === 'warehouse' ? endpoints.databricks.port : Number(part === 'kafka' ? endpoints.kafka.brokers[0]!.split(':')[1] : new URL(endpoints.postgres.url).port);
      for (let k = 0; k < 8; k++) {
        const hex = port.toString(16).toUpperCase().padStart(4, '0');
        const entries = (readFileSync('/proc/net/tcp', 'utf8') + readFileSync('/proc/net/tcp6', 'utf8')).split('\n').filter((l) => l.split(/\s+/)[2]?.endsWith(':' + hex)).map((l) => l.split(/\s+/).slice(2, 5).join(' '));
        const err = await new Promise((resolve) => { const sv = createServer(); sv.on('error', (e) => resolve(String(e))); sv.listen(port, '127.0.0.1', () => sv.close(() => resolve('listened'))); });
        console.log(part, how, port, err, await answers(port), 'hex', hex, entries);
        await delay(100);
      }
      const now = await startPart(dir, part);
      if (JSON.stringify(now) !== JSON.stringify(endpoints)) throw new Error('moved');
      await recovered(`${part} ${how}`);
    }
    const broker = (await stackStatus({ dir })).parts.find(({ part }) => part === 'kafka')!.pid!;
    process.kill(broker, 'SIGSTOP');
    await delay(4000);
    process.kill(broker, 'SIGCONT');
    await recovered('kafka hung');

    committing = false;
    await committed;
    await until('everything to be published', () => publishedVersion(workers) === commits.version, {
      timeoutMs: 30_000,
    });
    await caughtUp(site, 30_000);
    const peaks = workers.map(({ pid }) => peakMemory(pid));
    for (const worker of workers) {
      assert.ok(worker.alive(), `a worker ended by itself: ${JSON.stringify(worker.lines.at(-1))}`);
      assert.equal(await worker.stop(), 0, 'a worker that is asked to stop ends well');
    }
    t.diagnostic(
      `${commits.version} commits, ${commits.changes.length} changes; well again after: ${recoveries.join(', ')}; ` +
        `peak memory ${peaks.join(' and ')} MB; ${hint}`,
    );
    assert.ok(peaks.every((peak) => peak === null || peak < 512));
    const changes = await assertPublished(site, commits, hint);
    await assertHistory(site, changes, hint);
  });
});

/** The newest version that one of the workers has published as a whole. */
function publishedVersion(workers: readonly Worker[]): number {
  const versions = workers.map(({ lines }) => {
    const last = lines.findLast(({ msg }) => msg === 'publish ends')?.['position'];
    return (last as { version: number } | undefined)?.version ?? -1;
  });
  return Math.max(...versions);
}
