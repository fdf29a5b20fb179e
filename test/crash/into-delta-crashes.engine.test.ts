import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { assertBoundedMemory, startBackfill, textOf, type BackfillRun } from '../support/backfill-run.ts';
import { tally } from '../support/batches.ts';
import { bothSides, type BothSides } from '../support/both-sides.ts';
import { seededRandom } from '../support/change-generator.ts';
import { committedKeys } from '../support/load-records.ts';
import { QUICK, startService } from '../support/service.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';

const ROWS = Number(process.env['INTO_DELTA_ROWS'] ?? 16_000);
/** Delta has some of them, half of these wrong, and some that Postgres does not have. */
const IN_DELTA = 2000;
const IN_DELTA_7 = 7 * Math.floor(IN_DELTA / 7);
const ABSENT = ROWS + 50_000;
const PIECE = Math.ceil(ROWS / 160);
/** When to kill: as it begins, as rows are published, once more are staged, as it is merged, once a part of it is merged. */
type Aim = 'begin' | 'load' | 'stage' | 'merge' | 'merged';
/** So many kills of each sort. */
const ROUNDS = Number(process.env['INTO_DELTA_ROUNDS'] ?? 2);
const AIMS = (['begin', 'load', 'stage', 'merge', 'merged'] as const).flatMap((aim): Aim[] =>
  Array<Aim>(ROUNDS).fill(aim),
);
const LONGEST_MS = AIMS.length * 60_000 + ROWS;

describe('a load from Postgres into Delta whose processes are killed again and again', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const later = undoing();
  let site: Site;
  let sides: BothSides;

  before(async () => {
    const settings = { ...QUICK, merging: { minAgeMs: 50, maxAgeMs: 100 } };
    site = later(await openSite({ prefix: 'into_delta_crashes', direction: 'both', settings }), (made) =>
      made.drop(),
    );
    sides = bothSides(site);
    await sides.older(ROWS);
    // With a mark such as our own merges leave: the feed does not tell Postgres of it.
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `MERGE INTO ${site.deltaTable} t
        USING (SELECT id, concat(if(id % 2 = 0, 'Employee ', 'stale '), id) AS name,
                      CAST(id % 1000 AS DECIMAL(12,2)) AS salary, :ferry AS ferry
               FROM (SELECT id FROM range(${IN_DELTA}) UNION ALL SELECT id FROM range(${ABSENT}, ${ABSENT + 100}))) s
        ON t.emp_id = s.id AND s.ferry = :ferry
        WHEN NOT MATCHED THEN INSERT (emp_id, name, salary) VALUES (s.id, s.name, s.salary)`,
      params: { ferry: 'deltaferry/test older' },
    });
    later(await startService(site.config), (made) => made.stop());
  });

  function start(...more: string[]): BackfillRun {
    const args = [site.name, '--config', site.configFile, '--piece', String(PIECE), ...more];
    return later(startBackfill(args), (made) => made.kill());
  }

  async function loads(): Promise<number> {
    const { rows } = await site.pool.query<{ n: number }>('SELECT count(*)::int AS n FROM deltaferry.loads');
    return rows[0]!.n;
  }

  async function files(): Promise<{ rows: number; merged: number }> {
    const { rows } = await site.pool.query<{ rows: number; merged: number }>(
      `SELECT coalesce(sum(rows), 0)::int AS rows, count(merged_at)::int AS merged FROM deltaferry.load_files`,
    );
    return rows[0]!;
  }

  /** People on both sides, each with keys of their own; those in Delta take longer, and do less. */
  async function people(turn: number): Promise<void> {
    const some = (rest: number) => Math.floor((random() * (ROWS + 200)) / 7) * 7 + rest;
    const row = (id: number) => ({ id, name: 'live', salary: `${Math.floor(random() * 1000)}.00` });
    await sides.inPostgres.upsert(row(some(1)), row(some(2)));
    await sides.inPostgres.remove(some(1), some(2));
    if (turn % 4 === 0) await sides.inDelta.upsert(row(some(4)), row(some(5)));
    // What Delta does not have yet cannot be deleted there.
    if (turn % 4 === 2) await sides.inDelta.remove(some(4) % IN_DELTA_7, some(5) % IN_DELTA_7);
  }

  /** Waits until the run is where it is to be killed. */
  async function at(run: BackfillRun, aim: Aim, before: { rows: number }): Promise<void> {
    const deadline = performance.now() + 120_000;
    const published = 2 + Math.floor(random() * 15);
    const isThere: Record<Aim, () => Promise<boolean>> = {
      begin: async () => true,
      load: async () => run.lines.filter(({ msg }) => msg === 'publish begins').length >= published,
      stage: async () => (await files()).rows > before.rows,
      merge: async () => run.printed.some((line) => /moving|compared/.test(line)),
      merged: async () => (await isThere.merge()) && (await files()).merged > 0,
    };
    // Past what comes before it already, where little was left.
    while (!(await isThere[aim]()) && !(aim !== 'merged' && (await isThere.merge()))) {
      if (!run.alive()) return;
      if (performance.now() > deadline) throw new Error(`it does not come to ${aim}: ${textOf(run)}`);
      await delay(5);
    }
    await delay(random() * { begin: 3000, load: 300, stage: 300, merge: 2500, merged: 1500 }[aim]);
  }

  it('goes on from what was acknowledged, and both sides end equal', { timeout: LONGEST_MS }, async (t) => {
    const hits: string[] = [];
    let run = start('--from', 'postgres');
    const runs = [run];
    let least = { rows: 0, merged: 0 };
    for (const aim of AIMS) {
      await at(run, aim, least);
      if (!run.alive()) break;
      const loader = run.loader();
      const victim = loader !== null && random() < 0.5 ? 'loader' : 'publisher';
      const stage =
        run.printed
          .at(-1)
          ?.replace(/^.*?: /, '')
          .slice(0, 40) ?? 'the start';
      if (victim === 'loader') {
        process.kill(loader!, 'SIGKILL');
        await run.ended();
      } else await run.kill();
      hits.push(`${aim} ${victim}`);
      const found = await files();
      t.diagnostic(
        `kill ${hits.length}: ${victim} at "${stage}", ${found.rows} rows staged, ${found.merged} files merged`,
      );
      assert.ok(found.rows >= least.rows && found.merged >= least.merged, 'what was acknowledged stays');
      least = found;
      await people(hits.length);
      run = (await loads()) === 0 ? start('--from', 'postgres') : start('--resume');
      runs.push(run);
    }
    const hint = `seed ${seed} (set CRASH_SEED); ${tally(hits)}`;
    assert.equal(await run.ended(), 0, `${textOf(run)}; ${hint}`);
    t.diagnostic(`${hint}; ${assertBoundedMemory(runs)}`);
    assert.ok(hits.length >= AIMS.length * 0.8, hint);
    assert.equal(await loads(), 1, hint);
    await people(0);
    assertShares(sides.made);
    await sides.equal(180_000);
    await sides.assertCrossedOnce();
    const keys = await committedKeys(site, `${site.name}_backfill`);
    assert.equal(new Set(keys).size, keys.length, `a row is on the topic once; ${hint}`);
  });
});
