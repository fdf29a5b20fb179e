import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { latestPosition } from '../../src/connections/kafka/latest-position.ts';
import { storedLogPosition } from '../../src/flow/log-position.ts';
import { setupTables, uninstallTables } from '../../src/service/setup.ts';
import { deltaferry } from '../cli/spawned.ts';
import { openSite, type Site } from '../support/site.ts';

describe('deltaferry setup --uninstall', () => {
  let site: Site;
  before(async () => {
    site = await openSite({ prefix: 'uninstall', direction: 'both' });
  });
  after(() => site.drop());

  const insert = (id: number) =>
    site.pool.query(`insert into employees values ($1, 'a', 1, true, now(), null)`, [id]);

  /** As the poller does: everything up to now is published. */
  async function acknowledge(): Promise<void> {
    const { rows } = await site.pool.query<{ at: string }>('select pg_current_snapshot()::text as at');
    const log = createChangeLog({
      kafka: site.kafka,
      producerName: 'postgres-log',
      table: site.name,
      topic: site.topic,
      partitions: 4,
      deadLetterTopic: `${site.topic}.dead-letters`,
      positionsTopic: site.config.topics.positions,
      encode: () => Buffer.alloc(0),
    });
    await log.open();
    const position = storedLogPosition({ acknowledged: rows[0]!.at, target: null, last: 0n, proof: null });
    await log.publish({ changes: [], rejected: [], position });
    await log.close();
  }

  it('counts what the poller has not published, without disturbing it', async () => {
    await insert(1);
    const none = await uninstallTables(site.config, { dryRun: true });
    assert.deepEqual(none.removals[0]?.gone, {
      log: `deltaferry.${site.name}_changes`,
      rows: 1,
      unpublished: 1,
    });
    await acknowledge();
    await insert(2);
    await insert(3);
    const some = await uninstallTables(site.config, { dryRun: true });
    assert.deepEqual([some.removals[0]?.gone?.rows, some.removals[0]?.gone?.unpublished], [3, 2]);
  });

  it('has no position where there is no topic', async () => {
    const owner = `postgres-log/${site.name}`;
    assert.equal(await latestPosition(site.kafka, { topic: `${site.name}.nowhere`, owner }), null);
    assert.equal(
      await latestPosition(site.kafka, { topic: site.config.topics.positions, owner: 'x/y' }),
      null,
    );
    assert.notEqual(await latestPosition(site.kafka, { topic: site.config.topics.positions, owner }), null);
  });

  it('removes, says so, and setup brings it back', async () => {
    const args = ['setup', '--uninstall', '--config', site.configFile];
    const planned = await deltaferry([...args, '--dry-run', '--json'], tmpdir());
    assert.equal((JSON.parse(planned.stdout) as { outcome: string }).outcome, 'planned', planned.stderr);
    const done = await deltaferry(args, tmpdir());
    assert.equal(done.code, 0, done.stderr);
    assert.match(
      done.stdout,
      /^remove {4}capture of public.employees: .* with 3 rows; not published, and lost to Delta: 2 rows/,
    );
    assert.match(done.stdout, /1 removed\. The tables themselves are as they were\.\n$/);
    await insert(4);
    const again = await uninstallTables(site.config);
    assert.equal(again.removals[0]?.gone, null);
    assert.equal((await setupTables(site.config)).outcome, 'done');
    await insert(5);
    const logged = await site.pool.query(`select from deltaferry.${site.name}_changes`);
    assert.equal(logged.rowCount, 1);
  });
});
