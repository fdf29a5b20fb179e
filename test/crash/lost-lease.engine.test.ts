import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLeaseHeld } from '../../src/connections/postgres/leadership.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { endsWell } from '../support/ends-well.ts';
import { feedState, isPublished } from '../support/feed-progress.ts';
import { startProxy, statement, type RequestMatch } from '../support/proxy.ts';
import { openSite } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const LOCK: RequestMatch = (request) => request.includes('pg_try_advisory_lock(');
const HEARTBEAT = statement('SELECT 1');
const UNLOCK = statement('SELECT pg_advisory_unlock_all()');

describe('a lease whose answers are lost', () => {
  const later = undoing();

  it(
    'is one feed’s at a time all the same, and each change is published once',
    { timeout: 300_000 },
    async () => {
      const site = later(await openSite({ prefix: 'lost_lease' }), (made) => made.drop());
      const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed: 1 });
      const url = new URL(site.config.postgres.url);
      const proxy = later(await startProxy({ host: url.hostname, port: Number(url.port) }), (made) =>
        made.close(),
      );
      url.host = `127.0.0.1:${proxy.port}`;
      const start = (...args: string[]): Worker =>
        later(startWorker(['--config', site.configFile, '--only', 'delta-feed', ...args]), (made) =>
          made.kill(),
        );
      const isHeld = (): Promise<boolean> => isLeaseHeld(site.pool, `delta-feed/${site.name}`);
      const published = async (by: readonly Worker[]): Promise<void> => {
        await commits.mixed();
        await until('the commit to be published', () =>
          by.some(({ lines }) => isPublished(lines, commits.version)),
        );
      };

      // Postgres has granted the lock, and nobody knows.
      proxy.loseAnswers(2, LOCK);
      const first = start('--set', `postgres.url=${url.href}`);
      await until('the first to lead', () => feedState(first.lines) === 'polling');
      assert.equal(proxy.lost, 2);
      assert.ok(await isHeld(), 'it leads without the lease');
      const second = start();
      await until('the second to stand by', () => feedState(second.lines) === 'standby');
      await published([first]);
      assert.equal(feedState(second.lines), 'standby');

      // It has the lock, and cannot prove it.
      proxy.loseAnswers(1, HEARTBEAT);
      const before = first.lines.length;
      await until('the first to know that its lease is lost', () =>
        first.lines.slice(before).some(({ state }) => state === 'standby'),
      );
      await until('one of the two to lead', () =>
        [first, second].some(({ lines }) => feedState(lines) === 'polling'),
      );
      assert.equal(proxy.lost, 3);
      await published([first, second]);
      assert.deepEqual(
        [first, second].map(({ lines }) => feedState(lines)).toSorted(),
        ['polling', 'standby'],
        'one of the two leads',
      );

      // It was given back, and who gives it back does not hear of it.
      await endsWell(second);
      await until('the first to lead again', () => feedState(first.lines) === 'polling');
      proxy.loseAnswers(1, UNLOCK);
      await endsWell(first);
      assert.equal(proxy.lost, 4);
      await until('the lease to be free', async () => !(await isHeld()));
      const third = start();
      await until('a third to lead', () => feedState(third.lines) === 'polling');
      await published([third]);
      await endsWell(third);
      await assertPublished(site, commits, 'answers about the lease were lost');
    },
  );
});
