import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { endsWell } from '../support/ends-well.ts';
import { feedState, isPublished } from '../support/feed-progress.ts';
import { openSite } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

describe('delta feed: real processes and a real topic', () => {
  const later = undoing();

  it('a standby takes over within 5 s of the death of the leader', { timeout: 300_000 }, async (t) => {
    const site = later(await openSite({ prefix: 'feed_standby' }), (made) => made.drop());
    const commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed: 1 });
    const start = (): Worker =>
      later(startWorker(['--config', site.configFile, '--only', 'delta-feed']), (made) => made.kill());
    const leader = start();
    await until('the leader leads', () => feedState(leader.lines) === 'polling');
    const standby = start();
    await until('the standby waits', () => feedState(standby.lines) === 'standby');
    await commits.mixed();
    await until('the commit to be published', () => isPublished(leader.lines, commits.version));
    assert.equal(feedState(standby.lines), 'standby');
    const died = performance.now();
    await leader.kill();
    await until('the standby leads', () => feedState(standby.lines) === 'polling', { everyMs: 5 });
    const took = performance.now() - died;
    t.diagnostic(`took over within ${Math.round(took)} ms`);
    assert.ok(took < 5_000, `${took} ms`);
    await commits.mixed();
    await until('the next commit to be published', () => isPublished(standby.lines, commits.version));
    await endsWell(standby);
    await assertPublished(site, commits, 'after the death of the leader');
  });
});
