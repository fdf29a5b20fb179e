import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { readStatus } from '../../src/service/status.ts';
import { startBackfill, textOf, type BackfillRun } from '../support/backfill-run.ts';
import { bothSides, type BothSides, type Employee } from '../support/both-sides.ts';
import { AS_DATABRICKS_CREATES_IT } from '../support/databricks-table.ts';
import { startService, QUICK, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { UNSEEN } from '../support/load-seen.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

const ROWS = 1_000;

const person = (id: number, salary = `${id}.00`): Employee => ({ id, name: `Employee ${id}`, salary });
const SOON = { timeoutMs: 90_000, everyMs: 50 };
const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, n) => from + n);

describe('a load into a captured table, both directions on', () => {
  const later = undoing();
  let site: Site;
  let sides: BothSides;
  let service: RunningService | null = null;

  before(async () => {
    const deltaTable = AS_DATABRICKS_CREATES_IT;
    site = later(
      await openSite({ prefix: 'backfill_both', direction: 'both', settings: QUICK, deltaTable }),
      (made) => made.drop(),
    );
    later(null, () => service?.stop());
    sides = bothSides(site);
    await sides.inDelta.upsert(...range(0, ROWS).map((id) => person(id)));
  });

  const backfill = (...more: readonly string[]) =>
    later(startBackfill([site.name, '--config', site.configFile, ...more]), (made) => made.kill());

  /** Waits for it while the load is running; fails with what that has printed. */
  async function during(run: BackfillRun, what: string, condition: () => unknown): Promise<void> {
    const found = await until(what, async () => !run.alive() || (await condition()) === true, SOON).catch(
      (error: unknown) => error,
    );
    if (found !== true || !run.alive()) throw new Error(`${what}:\n${textOf(run)}`, { cause: found });
  }

  async function newest(): Promise<
    { phase: string; version: string | null; position: string | null; live: string | null } | undefined
  > {
    const { rows } = await site.pool.query<{
      phase: string;
      version: string | null;
      position: string | null;
      live: string | null;
    }>(
      `SELECT phase, version, log_position::text AS position, live_offsets::text AS live
       FROM deltaferry.loads ORDER BY started_at DESC LIMIT 1`,
    );
    return rows[0];
  }

  /** A transaction of somebody's, open until it is told how to end. */
  async function open(
    ...statements: readonly string[]
  ): Promise<(how: 'COMMIT' | 'ROLLBACK') => Promise<void>> {
    const client = await site.pool.connect();
    await client.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
    let ended = false;
    later(client, () => ended || client.release(true));
    for (const statement of statements) await client.query(statement);
    return async (how) => {
      await client.query(how);
      ended = true;
      client.release();
    };
  }

  const shape = async (id: number): Promise<string[]> => {
    const { rows } = await site.pool.query<{ text: string }>(
      `SELECT name || ' ' || salary || CASE WHEN is_active THEN '' ELSE ' ended' END AS text
       FROM public.employees WHERE emp_id = $1 ORDER BY on_date`,
      [id],
    );
    return rows.map(({ text }) => text);
  };

  it('fills an empty one, unless people have written to it meanwhile', { timeout: 240_000 }, async () => {
    const unfinished = await open('LOCK TABLE public.employees IN ROW EXCLUSIVE MODE');
    const first = backfill();
    await during(first, 'everything is beside the table', async () => (await newest())?.phase === 'handover');
    await site.pool.query(`INSERT INTO public.employees VALUES (5, 'mine', 1, true, now(), NULL)`);
    await site.pool.query('DELETE FROM public.employees WHERE emp_id = 5');
    await unfinished('COMMIT');
    assert.equal(await first.ended(), 1);
    assert.match(textOf(first), /was empty when the load began[^]*LOAD_TARGET_NOT_EMPTY/);
    assert.match(textOf(first), /--restart/);

    // Delta has to hear of it before the next version is chosen.
    const second = backfill('--restart');
    await during(second, 'the load waits', async () => (await newest())?.position !== null);
    await during(second, 'it says for what', () => textOf(second).includes('2 rows of the log are left'));
    assert.equal((await newest())?.version, null);
    const { tables, problems } = await readStatus({
      config: site.config,
      tables: site.config.tables,
      askDelta: false,
    });
    assert.deepEqual(problems, []);
    const [told] = tables;
    assert.deepEqual(
      { ...told?.load, id: '', startedAt: '', stageSeconds: 0 },
      {
        ...UNSEEN,
        id: '',
        source: 'delta',
        way: 'fill',
        phase: 'snapshot',
        running: true,
        version: null,
        totalRows: null,
        published: 0,
        rejected: 0,
        applied: 0,
        startedAt: '',
        error: null,
        stage: 'merging',
        stageSeconds: 0,
        perSecond: null,
        secondsLeft: null,
      },
    );
    assert.equal(told?.roles['postgres-log']?.unpublished, 2);
    assert.match(told?.roles['postgres-history']?.heldBy ?? '', /^\d{8}t\d{6}_/);
    const { position } = (await newest())!;
    await second.kill();
    const third = backfill('--resume');
    service = await startService(site.config);
    assert.equal(await third.ended(), 0, textOf(third));
    assert.equal((await newest())?.position, position, 'what it waits for is chosen once');
    (sides.expected as Map<number, string>).delete(5);
    await sides.equal();
    assert.match((await newest())?.live ?? '', /^\{\d+(,\d+)*\}$/);
  });

  it(
    'brings it to what Delta holds, and keeps what is changed on either side meanwhile',
    { timeout: 240_000 },
    async () => {
      const unseen = async (sql: string): Promise<void> => {
        await site.pool.query(`BEGIN; SET LOCAL deltaferry.origin = 'nobody'; ${sql}; COMMIT`);
      };
      // What nobody tells.
      await unseen('DELETE FROM public.employees WHERE emp_id BETWEEN 100 AND 109');
      await unseen(`UPDATE public.employees SET name = 'wrong' WHERE emp_id BETWEEN 200 AND 209`);
      await unseen(
        `UPDATE public.employees SET off_date = on_date + interval '1 microsecond', is_active = false WHERE emp_id BETWEEN 300 AND 309`,
      );
      await unseen(
        `INSERT INTO public.employees SELECT n, 'made up', 1, true, '2020-01-01Z', NULL FROM generate_series(-9, -1) n`,
      );
      const onTopic = async (): Promise<Record<string, number>> => {
        const counts = { delta: 0, postgres: 0 };
        for (const { origin } of await sides.onTopic()) counts[origin as 'delta' | 'postgres'] += 1;
        return counts;
      };
      const start = await onTopic();
      const made = { ...sides.made };

      await service?.stop();
      service = await startService(site.config, {
        roles: ['delta-feed', 'postgres-log', 'postgres-history'],
      });
      await sides.inPostgres.upsert(person(1, '1.50'), person(201, '1.50'), person(2001));
      await sides.inPostgres.remove(2, 202, -2);
      const longer = await open(
        `UPDATE public.employees SET name = 'longer' WHERE emp_id IN (3, 203) AND off_date IS NULL`,
        `INSERT INTO public.employees VALUES (103, 'longer', 1, true, now(), NULL)`,
      );
      const run = backfill();
      await during(run, 'the load to wait for the merges', () =>
        /waiting until Delta has what was changed in Postgres: \d+ records .*delta-merge/.test(textOf(run)),
      );
      await sides.inPostgres.upsert(
        person(4, '2.50'),
        person(204, '2.50'),
        person(104, '2.50'),
        person(2002),
      );
      await sides.inPostgres.remove(11, 205, -5);
      await sides.inDelta.upsert(person(6, '3.50'), person(206, '3.50'), person(106, '3.50'), person(3001));
      await sides.inDelta.remove(7);
      assert.equal((await newest())?.version, null, 'nothing is chosen before Delta has it');

      await service.stop();
      service = await startService(site.config);
      const stuck = await open(
        `UPDATE public.employees SET name = 'never' WHERE emp_id = 208 AND off_date IS NULL`,
        `INSERT INTO public.employees VALUES (108, 'never', 1, true, now(), NULL)`,
      );
      await during(run, 'the version is chosen', async () => (await newest())?.version !== null);
      await sides.inPostgres.upsert(
        person(12, '4.50'),
        person(207, '4.50'),
        person(107, '4.50'),
        person(2003),
      );
      await sides.inDelta.upsert(person(13, '5.50'), person(209, '5.50'), person(109, '5.50'), person(3002));
      await sides.inDelta.remove(14, 305);
      await during(run, 'the load waits for open transactions', async () => {
        return (await newest())?.phase === 'handover';
      });
      await sides.inPostgres.upsert(person(15, '6.50'), person(306, '6.50'));
      await stuck('ROLLBACK');
      await longer('COMMIT');
      for (const [id, row] of [
        [3, 'longer 3.00'],
        [203, 'longer 203.00'],
        [103, 'longer 1.00'],
      ] as const)
        (sides.expected as Map<number, string>).set(id, row);
      assert.equal(await run.ended(), 0, textOf(run));
      await sides.inPostgres.upsert(person(208, '7.50'), person(301, '7.50'));
      await sides.equal();

      const crossed = await onTopic();
      // Besides what the sides count: the long transaction’s three keys, and the ends of two that Delta never had.
      assert.deepEqual(
        { delta: crossed['delta']! - start['delta']!, postgres: crossed['postgres']! - start['postgres']! },
        { delta: sides.made.delta - made.delta, postgres: sides.made.postgres - made.postgres + 3 + 2 },
        'what the load wrote was captured',
      );
      assert.deepEqual(await shape(200), ['wrong 200.00 ended', 'Employee 200 200.00']);
      assert.deepEqual(await shape(100), ['Employee 100 100.00']);
      assert.deepEqual(await shape(300), ['Employee 300 300.00 ended', 'Employee 300 300.00']);
      assert.deepEqual(await shape(-1), ['made up 1.00 ended']);
      assert.deepEqual(await shape(203), ['longer 203.00'], 'left alone');
      assert.deepEqual(await shape(204), ['wrong 204.00 ended', 'Employee 204 2.50'], 'left alone');
      assert.deepEqual(await shape(103), ['longer 1.00']);
      assert.deepEqual(await shape(1), ['Employee 1 1.00 ended', 'Employee 1 1.50'], 'nothing to do');
      const bad = service.lines.filter(({ level }) => level >= 50).map(({ msg }) => msg);
      assert.deepEqual(bad, []);
    },
  );
});
