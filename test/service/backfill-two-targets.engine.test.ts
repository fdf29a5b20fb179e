import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type pg from 'pg';
import type { BackfillMode, BackfillResult } from '../../src/service/backfill.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { openCopy, type Copy } from '../support/copy.ts';
import { committedKeys } from '../support/load-records.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { loadHere } from '../support/load-here.ts';

const ROWS = 5000;

/** A second target has the same topics and the same Delta table, and a control schema of its own. */
describe('a load of a table that another target loads at the same time', () => {
  const later = undoing();
  let site: Site;
  let target: Copy;

  before(async () => {
    site = later(await openSite({ prefix: 'two_targets', partitions: 2 }), (made) => made.drop());
    target = await openCopy(site, later);
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), 1 FROM range(${ROWS})`,
    });
  });

  async function loadSecond(mode: BackfillMode): Promise<BackfillResult> {
    const config: Config = { ...target.config, databricks: site.config.databricks };
    return await loadHere(config, { mode, from: 'delta', signal: AbortSignal.timeout(120_000) });
  }

  async function newest(): Promise<{ id: string; phase: string; published: number }> {
    const { rows } = await site.pool.query<{ id: string; phase: string; published: number }>(
      'SELECT id, phase, published_rows::int AS published FROM deltaferry.loads ORDER BY started_at DESC LIMIT 1',
    );
    return rows[0] ?? { id: '', phase: '', published: 0 };
  }

  async function rowsIn(pool: pg.Pool): Promise<unknown> {
    const { rows } = await pool.query(
      'SELECT count(*)::int AS rows, count(DISTINCT emp_id)::int AS keys FROM public.employees WHERE off_date IS NULL',
    );
    return rows[0];
  }

  /** What holds rows would be compared, and wait for live changes. */
  async function empty(): Promise<void> {
    for (const { pool } of [site, target]) await pool.query('TRUNCATE public.employees');
  }

  const ALL = { rows: ROWS, keys: ROWS };
  const onTopic = async (): Promise<number> => (await committedKeys(site, `${site.name}_backfill`)).length;

  /** Its loader cannot write any more from here on: until that is let go of, the load goes on without end. */
  async function held(id: string): Promise<() => Promise<void>> {
    const client = await site.pool.connect();
    await client.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
    await client.query(`LOCK TABLE deltaferry."load_${id}_progress" IN SHARE MODE`);
    let holding = true;
    return later(
      async () => {
        if (!holding) return;
        holding = false;
        await client.query('COMMIT');
        client.release();
      },
      (letGo) => letGo(),
    );
  }

  async function begun(...more: string[]) {
    const args = [site.name, '--config', site.configFile, ...(more.length > 0 ? more : ['--piece', '500'])];
    const before = (await newest()).id;
    const run = later(startBackfill(args), (made) => made.kill());
    const id = await until('the load to begin', async () => {
      if (!run.alive()) throw new Error(textOf(run));
      const found = await newest();
      return found.id !== before && found.id;
    });
    return { run, id, letGo: await held(id) };
  }

  it('is refused while the first goes on, which ends with every row once', { timeout: 240_000 }, async () => {
    const { run, id, letGo } = await begun();
    const refused = {
      code: 'LOAD_OTHER_TARGET',
      message: new RegExp(`The load ${id} of ${site.name}, begun by target postgres, is unfinished`),
    };
    await assert.rejects(loadSecond('new'), refused);
    await until('every row on the topic', async () => (await newest()).phase === 'handover');
    // All is published, and not all is read back: what a second one publishes would replace it.
    await assert.rejects(loadSecond('new'), refused);
    await letGo();
    assert.equal(await run.ended(), 0, textOf(run));
    assert.doesNotMatch(textOf(run), /trying again/, 'the first was not disturbed');
    assert.deepEqual(await rowsIn(site.pool), ALL);
    assert.equal(await onTopic(), ROWS);

    assert.equal((await loadSecond('new')).rows, ROWS);
    assert.deepEqual(await rowsIn(target.pool), ALL);
  });

  it(
    'takes the place of one that was killed with --restart; that one, resumed, says so and publishes nothing',
    { timeout: 240_000 },
    async () => {
      await empty();
      const { run, letGo } = await begun();
      await until('a piece to be published', async () => (await newest()).published > 0);
      await run.kill();
      await letGo();
      await assert.rejects(loadSecond('new'), { code: 'LOAD_OTHER_TARGET' });
      assert.equal((await loadSecond('restart')).rows, ROWS);

      const before = await onTopic();
      const resumed = later(startBackfill([site.name, '--config', site.configFile, '--resume']), (made) =>
        made.kill(),
      );
      assert.equal(await resumed.ended(), 1);
      assert.match(textOf(resumed), /LOAD_TOPIC_REPLACED/);
      assert.match(textOf(resumed), /begun by target replica, has taken the place/);
      assert.equal(await onTopic(), before);

      const anew = later(startBackfill([site.name, '--config', site.configFile, '--restart']), (made) =>
        made.kill(),
      );
      assert.equal(await anew.ended(), 0, textOf(anew));
      assert.deepEqual(await rowsIn(site.pool), ALL);
    },
  );

  it('that goes on when its place was taken ends, and publishes nothing', { timeout: 240_000 }, async () => {
    await empty();
    const { run, letGo } = await begun('--restart', '--piece', '100');
    await letGo();
    await until('a piece to be published', async () => (await newest()).published > 0, { everyMs: 1 });
    process.kill(run.pid, 'SIGSTOP');
    try {
      assert.equal((await newest()).phase, 'snapshot', 'it is still publishing');
      assert.equal((await loadSecond('restart')).rows, ROWS);
      assert.deepEqual(await rowsIn(target.pool), ALL);
    } finally {
      process.kill(run.pid, 'SIGCONT');
    }
    const before = await onTopic();
    assert.equal(await run.ended(), 1);
    assert.match(textOf(run), /LOAD_TOPIC_REPLACED/);
    assert.equal(await onTopic(), before);
    assert.deepEqual(await rowsIn(site.pool), { rows: 0, keys: 0 });
  });
});
