import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { endsWell } from '../support/ends-well.ts';
import { isPublished } from '../support/feed-progress.ts';
import { caughtUp } from '../support/history-check.ts';
import { holding } from '../support/holding.ts';
import { committedKeys } from '../support/load-records.ts';
import { openRecords, type FoundVersion } from '../support/records.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const ROWS = 20_000;

async function fill(site: Site, rows: number): Promise<void> {
  await site.warehouse.query({
    doing: 'filling the table',
    sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), CAST(id % 1000 AS DECIMAL(12,2)) FROM range(${rows})`,
  });
}

async function change(site: Site, sql: string): Promise<void> {
  await site.warehouse.query({ doing: 'changing rows', sql: sql.replaceAll('$T', site.deltaTable) });
}

async function history(site: Site): Promise<Map<number, FoundVersion[]>> {
  const records = await openRecords(site);
  try {
    return Map.groupBy(await records.history(), ({ id }) => id);
  } finally {
    await records.close();
  }
}

async function newestVersion(site: Site): Promise<number> {
  const [newest] = await site.warehouse.query({
    doing: 'looking for the newest version',
    sql: `DESCRIBE HISTORY ${site.deltaTable} LIMIT 1`,
  });
  return Number(newest?.['version']);
}

interface LoadFacts {
  readonly id: string;
  readonly phase: string;
  readonly version: string | null;
  readonly applied: number;
  readonly error: string | null;
}

async function newestLoad(site: Site): Promise<LoadFacts | undefined> {
  const { rows } = await site.pool.query<LoadFacts>(
    'SELECT id, phase, version, applied_rows::int AS applied, error FROM deltaferry.loads ORDER BY started_at DESC LIMIT 1',
  );
  return rows[0];
}

async function heldOffsets(site: Site): Promise<number> {
  const { rows } = await site.pool.query<{ n: number }>(
    'SELECT count(*)::int AS n FROM deltaferry.offsets WHERE held_by IS NOT NULL',
  );
  return rows[0]!.n;
}

/** Another one in its place would not have its grants, triggers and views. */
async function tableItself(site: Site): Promise<unknown> {
  const { rows } = await site.pool.query(`SELECT 'public.employees'::regclass::oid AS table`);
  return rows[0];
}

async function loadTables(site: Site): Promise<number> {
  const { rows } = await site.pool.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM pg_class WHERE relname LIKE 'load\\_2%' AND relkind = 'r'`,
  );
  return rows[0]!.n;
}

describe('a load into an empty history', () => {
  const later = undoing();
  let site: Site;

  before(async () => {
    site = later(await openSite({ prefix: 'backfill' }), (made) => made.drop());
    await fill(site, ROWS);
  });

  it('loads every row once, as the Delta table holds it', { timeout: 180_000 }, async () => {
    const run = later(
      startBackfill([site.name, '--config', site.configFile, '--piece', '3000', '--json']),
      (made) => made.kill(),
    );
    assert.equal(await run.ended(), 0, textOf(run));
    const result = JSON.parse(run.printed.join('\n')) as Record<string, unknown>;
    assert.equal(result['rows'], ROWS);
    assert.equal(result['rejected'], 0);
    assert.equal(result['version'], 1);

    const found = await history(site);
    assert.equal(found.size, ROWS);
    const [first] = found.get(0)!;
    for (const [id, versions] of found)
      assert.deepEqual(versions, [
        { id, name: `Employee ${id}`, salary: `${id % 1000}.00`, active: true, from: first!.from, to: null },
      ]);
    assert.equal((await committedKeys(site, `${site.name}_backfill`)).length, ROWS, 'records on the topic');
    assert.equal((await newestLoad(site))?.phase, 'live');
    assert.equal(await heldOffsets(site), 0);
    assert.equal(await loadTables(site), 0);
    const staged = await site.warehouse.query({
      doing: 'looking for what is left',
      sql: `LIST '${site.config.databricks.stagingVolume}/backfill/${String(result['load'])}'`,
    });
    for (const folder of staged)
      assert.deepEqual(
        await site.warehouse.query({
          doing: 'looking for what is left',
          sql: `LIST '${String(folder['path']).replace(/\/$/, '')}'`,
        }),
        [],
      );
  });

  it(
    'loaded again it writes nothing, since the table is what Delta holds',
    { timeout: 120_000 },
    async () => {
      const before = await history(site);
      const worker = later(startWorker(['--config', site.configFile]), (made) => made.kill());
      const run = later(startBackfill([site.name, '--config', site.configFile, '--json']), (made) =>
        made.kill(),
      );
      assert.equal(await run.ended(), 0, textOf(run));
      const { reconciled } = JSON.parse(run.printed.join('\n')) as { readonly reconciled: unknown };
      assert.deepEqual(reconciled, { added: 0, corrected: 0, ended: 0 });
      await endsWell(worker);
      assert.deepEqual(await history(site), before);
    },
  );

  it('names the nearest table where there is none of that name', { timeout: 60_000 }, async () => {
    const run = later(startBackfill([`${site.name}x`, '--config', site.configFile]), (made) => made.kill());
    assert.equal(await run.ended(), 2);
    assert.match(textOf(run), new RegExp(`did you mean ${site.name}`, 'i'));
  });

  it('has nothing to resume once it is done', { timeout: 60_000 }, async () => {
    const run = later(startBackfill([site.name, '--config', site.configFile, '--resume']), (made) =>
      made.kill(),
    );
    assert.equal(await run.ended(), 1);
    assert.match(textOf(run), /LOAD_NONE/);
  });
});

describe('a load while the table is changed', () => {
  const later = undoing();
  let site: Site;
  let worker: Worker;

  before(async () => {
    site = later(await openSite({ prefix: 'backfill_live' }), (made) => made.drop());
    await fill(site, ROWS);
  });

  after(async () => {
    if (worker?.alive()) await worker.kill();
  });

  it(
    'keeps every change that is made meanwhile, of rows loaded already or not',
    { timeout: 240_000 },
    async () => {
      const table = await tableItself(site);
      const unfinished = later(await holding(site, 'public.employees IN ROW EXCLUSIVE MODE'), (letGo) =>
        letGo(),
      );
      const run = later(startBackfill([site.name, '--config', site.configFile, '--piece', '1000']), (made) =>
        made.kill(),
      );
      const load = await until(
        'the load to begin',
        async () => {
          if (!run.alive()) throw new Error(textOf(run));
          return newestLoad(site);
        },
        { everyMs: 1 },
      );
      assert.ok((await heldOffsets(site)) > 0, 'consumers wait from its first transaction on');
      // From here on no row comes into the load's table.
      const unloaded = later(
        await holding(site, `deltaferry."load_${load.id}_progress" IN SHARE MODE`),
        (letGo) => letGo(),
      );
      await until('the version is chosen', async () => (await newestLoad(site))?.version !== null);
      worker = startWorker(['--config', site.configFile]);
      await change(site, `UPDATE $T SET salary = -1 WHERE emp_id < 10 OR emp_id >= ${ROWS - 10}`);
      await change(site, `DELETE FROM $T WHERE emp_id IN (5, 6, 100)`);
      await unloaded();
      await until('every row is beside the table', async () => (await newestLoad(site))?.applied === ROWS);
      await change(site, `DELETE FROM $T WHERE emp_id IN (${ROWS - 5}, ${ROWS - 100})`);
      await change(site, `INSERT INTO $T VALUES (${ROWS}, 'new', 1), (5, 'again', 2), (-1, 'below', 3)`);
      await until('a consumer to wait for the load', () =>
        worker.lines.some((line) => line['state'] === 'waiting for a load'),
      );
      assert.equal((await history(site)).size, 0, 'nobody sees a part of a load');
      await unfinished();
      assert.equal(await run.ended(), 0, textOf(run));
      assert.deepEqual(await tableItself(site), table, 'the table stays the one it was');
      await until('the last change is applied', async () => (await history(site)).has(-1), { everyMs: 300 });
      await caughtUp(site, 60_000);
      await endsWell(worker);

      const found = await history(site);
      const start = found.get(1000)![0]!.from;
      const shape = (id: number): readonly (readonly [string, boolean, boolean])[] =>
        (found.get(id) ?? []).map(({ name, salary, from, active }) => [
          `${name} ${salary}`,
          from === start,
          active,
        ]);
      for (const id of [0, 9, ROWS - 10, ROWS - 1])
        assert.deepEqual(shape(id), [
          [`Employee ${id} ${id % 1000}.00`, true, false],
          [`Employee ${id} -1.00`, false, true],
        ]);
      for (const id of [6, ROWS - 5])
        assert.deepEqual(shape(id), [
          [`Employee ${id} ${id % 1000}.00`, true, false],
          [`Employee ${id} -1.00`, false, false],
        ]);
      for (const id of [100, ROWS - 100])
        assert.deepEqual(shape(id), [[`Employee ${id} ${id % 1000}.00`, true, false]]);
      assert.deepEqual(shape(5), [
        ['Employee 5 5.00', true, false],
        ['Employee 5 -1.00', false, false],
        ['again 2.00', false, true],
      ]);
      assert.deepEqual(shape(ROWS), [['new 1.00', false, true]]);
      assert.deepEqual(shape(-1), [['below 3.00', false, true]]);
      const current = [...found.values()].flat().filter(({ active }) => active);
      assert.equal(current.length, ROWS - 5 + 3);
      for (const versions of found.values())
        versions.forEach(({ id, to }, at) => {
          const next = versions[at + 1]?.from;
          // The one that was deleted, then inserted again.
          if (id !== 5) assert.equal(to, next ?? to, `a gap in the history of ${id}`);
          else assert.ok(next === undefined || to! <= next);
        });

      assert.deepEqual(
        worker.lines.filter(({ level }) => level >= 40).map(({ msg }) => msg),
        [],
        'waiting is no failure',
      );
    },
  );
});

describe('what a load refuses', () => {
  const later = undoing();
  let site: Site;

  before(async () => {
    site = later(await openSite({ prefix: 'backfill_refusals' }), (made) => made.drop());
    await fill(site, ROWS);
  });

  it(
    'a second load of the table at once, naming the first; and one that was killed',
    { timeout: 180_000 },
    async () => {
      const args = [site.name, '--config', site.configFile];
      const unfinished = later(await holding(site, 'public.employees IN ROW EXCLUSIVE MODE'), (letGo) =>
        letGo(),
      );
      const first = later(startBackfill(args), (made) => made.kill());
      await until(
        'the first load is about to end',
        async () => (await newestLoad(site))?.phase === 'handover',
      );
      const { id } = (await newestLoad(site))!;
      const second = later(startBackfill([...args, '--resume']), (made) => made.kill());
      assert.equal(await second.ended(), 1);
      assert.ok(first.alive(), 'the first load goes on');
      assert.match(textOf(second), /LOAD_RUNNING/);
      assert.ok(textOf(second).includes(id), textOf(second));
      await first.kill();
      await unfinished();

      const third = later(startBackfill(args), (made) => made.kill());
      assert.equal(await third.ended(), 1);
      assert.match(textOf(third), /LOAD_UNFINISHED/);
      assert.ok(textOf(third).includes(id), textOf(third));
      assert.match(textOf(third), /--resume/);
    },
  );

  it('giving it up lets the consumers go on', { timeout: 60_000 }, async () => {
    assert.ok((await heldOffsets(site)) > 0);
    const run = later(startBackfill([site.name, '--config', site.configFile, '--give-up']), (made) =>
      made.kill(),
    );
    assert.equal(await run.ended(), 0, textOf(run));
    assert.equal(await heldOffsets(site), 0);
    assert.equal((await newestLoad(site))?.phase, 'failed');
    assert.equal(await loadTables(site), 0);
  });

  it('rows of one key twice, naming the key', { timeout: 180_000 }, async () => {
    await change(site, `INSERT INTO $T VALUES (17, 'another', 1)`);
    const run = later(startBackfill([site.name, '--config', site.configFile]), (made) => made.kill());
    assert.equal(await run.ended(), 1);
    assert.match(textOf(run), /LOAD_DUPLICATE_KEYS/);
    assert.match(textOf(run), /several rows of one key, for instance of 17\./);
    assert.match((await newestLoad(site))?.error ?? '', /several rows of one key/);
    await change(site, `DELETE FROM $T WHERE name = 'another'`);
  });

  it(
    'a version that was vacuumed before it was read, until it begins anew',
    { timeout: 180_000 },
    async () => {
      // A load that has chosen its version, and was killed before it knew what to read.
      const args = [site.name, '--config', site.configFile];
      const unnoted = later(await holding(site, 'deltaferry.load_parts IN SHARE MODE'), (letGo) => letGo());
      const begun = later(startBackfill([...args, '--restart']), (made) => made.kill());
      await until('the export', () => begun.printed.some((line) => line.includes('exporting')));
      await begun.kill();
      await unnoted();
      await change(site, 'UPDATE $T SET salary = salary + 1');
      await change(site, 'SET spark.databricks.delta.retentionDurationCheck.enabled = false');
      await change(site, `VACUUM ${site.deltaTable} RETAIN 0 HOURS`);

      const resumed = later(startBackfill([...args, '--resume']), (made) => made.kill());
      assert.equal(await resumed.ended(), 1);
      assert.match(textOf(resumed), /LOAD_VERSION_GONE/);
      assert.match(textOf(resumed), /--restart/);

      const anew = later(startBackfill([...args, '--restart']), (made) => made.kill());
      assert.equal(await anew.ended(), 0, textOf(anew));
      const found = await history(site);
      assert.equal(found.size, ROWS);
      assert.equal(found.get(17)![0]!.salary, '18.00');
    },
  );
});

describe('a load without a volume', () => {
  const later = undoing();

  it(
    'says so where its version was vacuumed between two of its pieces, until it begins anew',
    { timeout: 300_000 },
    async () => {
      const site = later(await openSite({ prefix: 'backfill_no_volume' }), (made) => made.drop());
      await fill(site, ROWS);
      const input = JSON.parse(readFileSync(site.configFile, 'utf8')) as { databricks: object };
      const databricks = { ...input.databricks, stagingVolume: undefined };
      writeFileSync(site.configFile, JSON.stringify({ ...input, databricks }));
      const args = [site.name, '--config', site.configFile, '--piece', '100'];

      const published = async (): Promise<number> => {
        const { rows } = await site.pool.query<{ n: number }>(
          'SELECT count(*)::int AS n FROM deltaferry.load_parts WHERE published_at IS NOT NULL',
        );
        return rows[0]!.n;
      };
      const first = later(startBackfill(args), (made) => made.kill());
      await until(
        'some pieces to be published',
        async () => {
          if (!first.alive()) throw new Error(textOf(first));
          return (await published()) > 0;
        },
        { everyMs: 5 },
      );
      await first.kill();
      assert.equal((await newestLoad(site))?.phase, 'snapshot', 'not all of them');
      const pieces = await site.pool.query<{ piece: string }>(
        'SELECT piece FROM deltaferry.load_parts WHERE part = 0',
      );
      assert.match(pieces.rows[0]!.piece, /^bucket 0 of /, 'read as results');

      await change(site, 'UPDATE $T SET salary = salary + 1');
      await change(site, 'SET spark.databricks.delta.retentionDurationCheck.enabled = false');
      await change(site, `VACUUM ${site.deltaTable} RETAIN 0 HOURS`);
      const resumed = later(startBackfill([...args, '--resume']), (made) => made.kill());
      assert.equal(await resumed.ended(), 1);
      assert.match(textOf(resumed), /LOAD_VERSION_GONE/);
      assert.match(textOf(resumed), /begin anew with the newest version: .*--restart/i);
      assert.equal((await history(site)).size, 0);

      const anew = later(startBackfill([...args, '--restart']), (made) => made.kill());
      assert.equal(await anew.ended(), 0, textOf(anew));
      const found = await history(site);
      assert.equal(found.size, ROWS);
      assert.equal(found.get(17)![0]!.salary, '18.00');
    },
  );
});

describe('a load into a table that holds rows', () => {
  const later = undoing();
  const rows = 45_000;
  let site: Site;

  before(async () => {
    site = later(await openSite({ prefix: 'backfill_rows' }), (made) => made.drop());
    await fill(site, rows);
  });

  it(
    'brings it to what Delta holds, keeps its history, and live changes go on',
    { timeout: 300_000 },
    async () => {
      const filling = later(startWorker(['--config', site.configFile]), (made) => made.kill());
      const current = async (): Promise<number> => {
        const found = await site.pool.query<{ n: number }>(
          'SELECT count(*)::int AS n FROM public.employees WHERE off_date IS NULL',
        );
        return found.rows[0]!.n;
      };
      await until('the table to be filled by live changes', async () => (await current()) === rows, {
        everyMs: 300,
      });
      await change(site, `UPDATE $T SET salary = -1 WHERE emp_id < 10`);
      await change(site, `DELETE FROM $T WHERE emp_id = 44999`);
      await until('the changes', async () => (await current()) === rows - 1, { everyMs: 300 });
      await caughtUp(site, 60_000);
      // What nobody tells: rows that somebody removed, changed and made up.
      await site.pool.query('DELETE FROM public.employees WHERE emp_id % 9000 = 7');
      await site.pool.query(
        `UPDATE public.employees SET name = 'wrong' WHERE emp_id IN (20000, 44998) OR emp_id = 3 AND is_active`,
      );
      await site.pool.query(
        `INSERT INTO public.employees VALUES (-5, 'made up', 1, true, '2020-01-01Z', NULL), (99999, 'made up', 1, true, '2020-01-01Z', NULL)`,
      );
      await site.pool.query(
        `UPDATE public.employees SET off_date = on_date + interval '1 microsecond', is_active = false WHERE emp_id = 100`,
      );
      // Published, and not applied before the load waits for it.
      await endsWell(filling);
      const feed = later(startWorker(['--config', site.configFile, '--only', 'delta-feed']), (made) =>
        made.kill(),
      );
      await change(site, `INSERT INTO $T VALUES (45001, 'before', 1)`);
      await change(site, `UPDATE $T SET salary = -3 WHERE emp_id = 200`);

      const run = later(startBackfill([site.name, '--config', site.configFile, '--json']), (made) =>
        made.kill(),
      );
      await until(
        'the version is chosen',
        async () => (await newestLoad(site))?.version !== null && (await newestLoad(site)) !== undefined,
      );
      await change(site, `UPDATE $T SET salary = -2 WHERE emp_id IN (7, 20000, 100, 30000)`);
      await change(site, `DELETE FROM $T WHERE emp_id IN (9007, 44998)`);
      const told = (text: RegExp): boolean => run.lines.some(({ msg }) => text.test(msg));
      await until('the load to wait for the consumers', () => {
        if (!run.alive()) throw new Error(textOf(run));
        return told(/waiting until live changes up to version \d+ are applied/);
      });
      await change(site, `INSERT INTO $T VALUES (45002, 'after', 2)`);
      const newest = await newestVersion(site);
      await until('the last change to be published', () => isPublished(feed.lines, newest));
      assert.ok(run.alive() && !told(/into the table|compared/), textOf(run));
      assert.ok((await history(site)).get(-5)?.[0]?.active, 'nothing is compared before that');
      const consumer = later(
        startWorker(['--config', site.configFile, '--only', 'postgres-history']),
        (made) => made.kill(),
      );
      assert.equal(await run.ended(), 0, textOf(run));
      const result = JSON.parse(run.printed.join('\n')) as {
        readonly reconciled: { readonly added: number; readonly corrected: number; readonly ended: number };
      };
      await until('the last change', async () => (await history(site)).has(45002), { everyMs: 300 });
      await caughtUp(site, 60_000);
      await endsWell(feed);
      await endsWell(consumer);

      const found = await history(site);
      const shape = (id: number): string[] =>
        (found.get(id) ?? []).map(({ name, salary, active }) => `${name} ${salary}${active ? '' : ' ended'}`);
      const active = [...found.values()].flat().filter((version) => version.active);
      const delta = await site.warehouse.query({
        doing: 'reading the table',
        sql: `SELECT emp_id, name, cast(salary AS string) AS salary FROM ${site.deltaTable}`,
      });
      const line = (id: unknown, name: unknown, salary: unknown): string =>
        `${String(id)} ${String(name)} ${String(salary)}`;
      assert.deepEqual(
        new Set(active.map(({ id, name, salary }) => line(id, name, salary))),
        new Set(delta.map((row) => line(row['emp_id'], row['name'], row['salary']))),
      );
      assert.equal(active.length, delta.length, 'one current version of each key');
      // History that was right is left as it was.
      assert.deepEqual(shape(5), ['Employee 5 5.00 ended', 'Employee 5 -1.00']);
      assert.deepEqual(shape(44999), ['Employee 44999 999.00 ended']);
      // What the consumers had not applied yet is what they then applied, and nothing of the load.
      assert.deepEqual(shape(200), ['Employee 200 200.00 ended', 'Employee 200 -3.00']);
      // What was wrong ends at the time of the load, and what came after it still came after it.
      assert.deepEqual(shape(3), ['Employee 3 3.00 ended', 'wrong -1.00 ended', 'Employee 3 -1.00']);
      assert.deepEqual(shape(20000), [
        'wrong 0.00 ended',
        'Employee 20000 0.00 ended',
        'Employee 20000 -2.00',
      ]);
      assert.deepEqual(shape(44998), ['wrong 998.00 ended', 'Employee 44998 998.00 ended']);
      assert.deepEqual(shape(100), [
        'Employee 100 100.00 ended',
        'Employee 100 100.00 ended',
        'Employee 100 -2.00',
      ]);
      assert.deepEqual(shape(-5), ['made up 1.00 ended']);
      assert.deepEqual(shape(99999), ['made up 1.00 ended']);
      assert.deepEqual(shape(18007), ['Employee 18007 7.00']);
      assert.deepEqual(shape(9007), ['Employee 9007 7.00 ended']);
      assert.deepEqual(shape(30000), ['Employee 30000 0.00 ended', 'Employee 30000 -2.00']);
      for (const versions of found.values())
        versions.forEach(({ id, to }, at) => {
          const next = versions[at + 1]?.from;
          assert.ok(next === undefined || (to !== null && to <= next), `versions of ${id} overlap`);
        });
      const { added, corrected, ended } = result.reconciled;
      assert.equal(ended, 2);
      assert.ok(added >= 3 && added + corrected <= 12, JSON.stringify(result.reconciled));
      assert.deepEqual(
        [filling, feed, consumer].flatMap(({ lines }) => lines.filter(({ level }) => level >= 50)),
        [],
      );
      assert.equal(await loadTables(site), 0);
    },
  );
});
