import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startBackfill, textOf, type BackfillRun } from '../support/backfill-run.ts';
import { tally } from '../support/batches.ts';
import { seededRandom } from '../support/change-generator.ts';
import { committedKeys } from '../support/load-records.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

const ROWS = 50_000;
const ROWS_PER_PIECE = 500;
const KILLS = 8;
/** A piece is in its transaction while the next is read: so much may be published or read anew after a kill. */
const PIECES_IN_HAND = 2;

describe('a load whose processes are killed again and again', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const later = undoing();
  let site: Site;

  before(async () => {
    site = later(await openSite({ prefix: 'backfill_crashes' }), (made) => made.drop());
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), CAST(id % 1000 AS DECIMAL(12,2)) FROM range(${ROWS})`,
    });
  });

  function start(...more: string[]): BackfillRun {
    const args = [site.name, '--config', site.configFile, '--piece', String(ROWS_PER_PIECE), ...more];
    return later(startBackfill(args), (made) => made.kill());
  }

  it('goes on from what was acknowledged, and ends with every row once', { timeout: 600_000 }, async (t) => {
    const runs = [start()];
    const phases: string[] = [];
    let least = 0;
    while (phases.length < KILLS) {
      const run = runs.at(-1)!;
      // The first ones anywhere, so that beginning and exporting are hit as well; then well into the load.
      const aim = phases.length < 2 ? 0 : 2 + Math.floor(random() * 6);
      await working(run, aim, random);
      const loaded = await rowsLoaded(site);
      assert.ok(loaded >= least, `the load had ${least} rows beside its table, then ${loaded}`);
      least = loaded;
      const loader = run.loader();
      const victim = loader !== null && random() < 0.5 ? 'loader' : 'publisher';
      phases.push(`${victim} ${phaseOf(run)}`);
      if (victim === 'loader') {
        process.kill(loader!, 'SIGKILL');
        assert.notEqual(await run.ended(), 0);
      } else await run.kill();
      t.diagnostic(`kill ${phases.length}: ${phases.at(-1)}, ${loaded} rows loaded`);
      // Killed before anything was noted: there is nothing to resume.
      runs.push((await loads(site)) === 0 ? start() : start('--resume'));
    }
    // A crash of the server empties what is UNLOGGED: the rows, and with them the progress.
    await working(runs.at(-1)!, 2, random);
    await runs.at(-1)!.kill();
    await crashedServer(site);
    runs.push(start('--resume'));
    // And once more when all that is left is one transaction.
    const blocked = await site.pool.connect();
    await blocked.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
    await blocked.query('LOCK TABLE public.employees IN ROW EXCLUSIVE MODE');
    await until('the hand-over', () => runs.at(-1)!.printed.some((line) => line.includes('moving')));
    await runs.at(-1)!.kill();
    await blocked.query('COMMIT');
    blocked.release();
    runs.push(start('--resume'));
    const last = runs.at(-1)!;
    assert.equal(await last.ended(), 0, textOf(last));

    const hint = `seed ${seed} (set CRASH_SEED); ${tally(phases)}`;
    const begun = runs.map(({ lines }) => lines.filter(({ msg }) => msg === 'publish begins').length);
    const published = begun.reduce((sum, n) => sum + n, 0);
    const { rows: parts } = await site.pool.query<{ n: number }>(
      'SELECT count(*)::int AS n FROM deltaferry.load_parts WHERE published_at IS NOT NULL',
    );
    const again = published - parts[0]!.n;
    t.diagnostic(`${parts[0]!.n} pieces, ${again} begun again; ${hint}`);
    assert.ok(phases.filter((phase) => / publish/.test(phase)).length >= KILLS / 2, hint);
    assert.ok(again <= (KILLS + 2) * PIECES_IN_HAND, `${again} pieces were published again; ${hint}`);
    assert.equal(await loads(site), 1, `one load, resumed; ${hint}`);
    assert.equal(
      (await committedKeys(site, `${site.name}_backfill`)).length,
      ROWS,
      `records on the topic; ${hint}`,
    );

    const { rows } = await site.pool.query<Record<string, string | boolean>>(
      `SELECT count(*) AS rows, count(DISTINCT emp_id) AS keys, min(emp_id) AS low, max(emp_id) AS high,
              bool_and(name = 'Employee ' || emp_id AND salary = emp_id % 1000 AND is_active AND off_date IS NULL) AS exact,
              count(DISTINCT on_date) AS times
       FROM public.employees`,
    );
    assert.deepEqual(
      rows[0],
      { rows: String(ROWS), keys: String(ROWS), low: '0', high: String(ROWS - 1), exact: true, times: '1' },
      hint,
    );
  });
});

/** Waits until the run has begun so many publications, or is over the start at least; then a little. */
async function working(run: BackfillRun, publications: number, random: () => number): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (run.lines.filter(({ msg }) => msg === 'publish begins').length < publications) {
    if (!run.alive()) throw new Error(`the load ended by itself: ${textOf(run)}`);
    if (performance.now() > deadline) throw new Error(`nothing is published: ${textOf(run)}`);
    await delay(1);
  }
  await delay(random() * (publications === 0 ? 3000 : 150));
  if (!run.alive()) throw new Error(`the load was done before the kill: ${textOf(run)}`);
}

/** What the publisher was doing, by the last line of its log. */
function phaseOf({ lines, printed }: BackfillRun): string {
  const last = lines.findLast(({ msg }) => /^(publish (begins|ends)|log opened)$/.test(msg))?.msg;
  return last ?? (printed.length === 0 ? 'at the start' : 'before the log was open');
}

async function loads(site: Site): Promise<number> {
  const { rows } = await site.pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM deltaferry.loads`);
  return rows[0]!.n;
}

async function crashedServer(site: Site): Promise<void> {
  const { rows } = await site.pool.query<{ names: string }>(
    `SELECT string_agg(format('deltaferry.%I', relname), ', ') AS names FROM pg_class
     WHERE relname LIKE 'load\\_2%' AND relkind = 'r' AND relpersistence = 'u'`,
  );
  await site.pool.query(`TRUNCATE ${rows[0]!.names}`);
}

/** Rows beside the table, as the load's own progress counts them and as they are. */
async function rowsLoaded(site: Site): Promise<number> {
  const { rows: tables } = await site.pool.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class WHERE relname LIKE 'load\\_2%\\_progress'`,
  );
  const progress = tables[0]?.name;
  if (progress === undefined) return 0;
  const { rows } = await site.pool.query<{ counted: string; there: string }>(
    `SELECT (SELECT coalesce(sum(rows), 0) FROM deltaferry."${progress}") AS counted,
            (SELECT count(*) FROM deltaferry."${progress.replace('_progress', '')}") AS there`,
  );
  const { counted, there } = rows[0]!;
  assert.equal(counted, there, 'the rows and their progress are written together');
  return Number(there);
}
