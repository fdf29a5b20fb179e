import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { BackfillMode } from '../../src/service/backfill.ts';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { bothSides, type BothSides, type Employee } from '../support/both-sides.ts';
import { openCopy, type Copy } from '../support/copy.ts';
import { endsWell } from '../support/ends-well.ts';
import { startService, QUICK, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';
import { loadHere } from '../support/load-here.ts';

const ROWS = 300;
const SOON = { timeoutMs: 60_000, everyMs: 100 };

const person = (id: number, salary = `${id}.00`): Employee => ({ id, name: `Employee ${id}`, salary });

describe('a database that is loaded from the topic of one whose changes go to Delta as well', () => {
  const later = undoing();
  let site: Site;
  let target: Copy;
  let sides: BothSides;
  let service: RunningService | null = null;

  before(async () => {
    site = later(await openSite({ prefix: 'topic_both', direction: 'both', settings: QUICK }), (made) =>
      made.drop(),
    );
    target = await openCopy(site, later);
    later(null, () => service?.stop());
    sides = bothSides(site);
    await sides.inDelta.upsert(...Array.from({ length: ROWS }, (_, id) => person(id)));
    service = await startService(site.config);
    await backfilled(site.configFile);
    await sides.equal();
  });

  const started = (configFile: string, ...more: readonly string[]) =>
    later(startBackfill([site.name, '--config', configFile, ...more]), (made) => made.kill());

  async function backfilled(configFile: string, ...more: readonly string[]): Promise<void> {
    const run = started(configFile, ...more);
    assert.equal(await run.ended(), 0, textOf(run));
  }

  /** The second one, which asks Delta itself. */
  async function loadedFromDelta(mode: BackfillMode): Promise<void> {
    const config = { ...target.config, databricks: site.config.databricks };
    await loadHere(config, { mode, from: 'delta' });
  }

  async function newest(): Promise<{ phase: string; version: string | null }> {
    const { rows } = await site.pool.query<{ phase: string; version: string | null }>(
      'SELECT phase, version FROM deltaferry.loads ORDER BY started_at DESC LIMIT 1',
    );
    return rows[0]!;
  }

  it(
    'loaded from Delta instead, is refused while Delta lacks a change that is older than its version, and has it afterwards',
    { timeout: 180_000 },
    async () => {
      await service?.stop();
      service = await startService(site.config, {
        roles: ['postgres-log', 'delta-feed', 'postgres-history'],
      });
      await sides.inPostgres.upsert(person(40, '40.50'));
      await sides.inPostgres.remove(42);
      await until('both changes on the topic', async () => {
        const others = (await sides.onTopic()).filter(({ origin }) => origin === site.config.postgres.id);
        return others.length === 2;
      });
      await sides.inDelta.upsert(person(41, '41.50'));
      await assert.rejects(loadedFromDelta('new'), {
        code: 'LOAD_CONCURRENT',
        message: /in another Postgres, for instance 4[02]:/,
      });
      await service.stop();
      service = await startService(site.config);
      await sides.equal();
      // Kafka hears a moment later what is merged.
      await until('the load that is begun anew', async () => {
        const error = await loadedFromDelta('restart').then(
          () => null,
          (thrown: { code?: string }) => thrown,
        );
        if (error !== null && error.code !== 'LOAD_CONCURRENT') throw error;
        return error === null;
      });
      assert.deepEqual(await current(target), expectedRows());
      await target.pool.query('TRUNCATE public.employees');
    },
  );

  it(
    'is refused while a change of somebody’s crosses the load: it is older than the version, and not in it',
    { timeout: 180_000 },
    async () => {
      const client = await site.pool.connect();
      let open = true;
      later(client, () => open && client.release(true));
      await client.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
      await client.query(
        `UPDATE public.employees SET name = 'crossing' WHERE emp_id = 3 AND off_date IS NULL`,
      );
      await sides.inDelta.upsert(person(6, '6.50'));
      const run = started(site.configFile);
      await until('the load to wait for the transaction', async () => {
        assert.ok(run.alive(), textOf(run));
        return (await newest()).phase === 'handover';
      });
      await client.query('COMMIT');
      open = false;
      client.release();
      (sides.expected as Map<number, string>).set(3, 'crossing 3.00');
      assert.equal(await run.ended(), 0, textOf(run));
      await sides.equal();

      const refused = started(target.configFile, '--from', 'topic');
      assert.equal(await refused.ended(), 1, textOf(refused));
      assert.match(textOf(refused), /changing rows in another Postgres, for instance 3:/);
      assert.match(textOf(refused), /LOAD_TOPIC_CONCURRENT/);
      assert.match(textOf(refused), /while nobody is in the middle of changing rows/);
    },
  );

  it(
    'gets the changes of both sides since, also those that were made as the first was loaded',
    { timeout: 180_000 },
    async () => {
      // Whoever has changed rows before the version is chosen is in it.
      await sides.inPostgres.upsert(person(1, '1.50'), person(1001));
      await sides.inPostgres.remove(2);
      const before = (await newest()).version;
      const run = started(site.configFile);
      await until(
        'the version is chosen',
        async () => {
          const { version } = await newest();
          return version !== null && version !== before;
        },
        SOON,
      );
      await sides.inPostgres.upsert(person(10, '10.50'), person(1002));
      await sides.inPostgres.remove(11);
      await sides.inDelta.upsert(person(12, '12.50'), person(1003));
      await sides.inDelta.remove(13);
      assert.equal(await run.ended(), 0, textOf(run));
      await sides.inPostgres.upsert(person(20, '20.50'), person(1004), person(1002, '2.50'));
      await sides.inDelta.remove(21, 1001);

      await backfilled(target.configFile, '--from', 'topic');
      await sides.inDelta.upsert(person(30, '30.50'));
      await sides.inPostgres.upsert(person(31, '31.50'));
      const copying = later(
        startWorker(['--config', target.configFile, '--only', 'postgres-history']),
        (made) => made.kill(),
      );
      const expected = expectedRows();
      await until(
        'the copy to hold the same',
        async () => assert.deepEqual(await current(target), expected) ?? true,
        SOON,
      );
      await sides.equal();
      await endsWell(copying);
      assert.deepEqual(
        [await shape(1), await shape(2), await shape(10), await shape(11), await shape(1002)],
        [['1.50'], [], ['10.00 ended', '10.50'], ['11.00 ended'], ['1002.00 ended', '2.50']],
        'its history begins at the version of the load',
      );
    },
  );

  const expectedRows = (): string[] => Array.from(sides.expected, ([id, row]) => `${id} ${row}`).sort();

  async function current({ pool }: Copy): Promise<string[]> {
    const { rows } = await pool.query<{ row: string }>(
      `SELECT concat_ws(' ', emp_id, name, salary) AS row FROM public.employees WHERE off_date IS NULL`,
    );
    return rows.map(({ row }) => row).sort();
  }

  async function shape(id: number): Promise<string[]> {
    const { rows } = await target.pool.query<{ row: string }>(
      `SELECT salary || CASE WHEN is_active THEN '' ELSE ' ended' END AS row
       FROM public.employees WHERE emp_id = $1 ORDER BY on_date`,
      [id],
    );
    return rows.map(({ row }) => row);
  }
});
