import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { assertBoundedMemory, startBackfill, textOf, type BackfillRun } from '../support/backfill-run.ts';
import { tally } from '../support/batches.ts';
import { seededRandom } from '../support/change-generator.ts';
import { compactAtOnce } from '../support/compaction.ts';
import { createDeltaCommits, type DeltaCommits } from '../support/delta-commits.ts';
import { openCopy } from '../support/copy.ts';
import { endsWell } from '../support/ends-well.ts';
import { isPublished } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { holding } from '../support/holding.ts';
import { committedKeys } from '../support/load-records.ts';
import { loadShares, type Span } from '../support/load-shares.ts';
import { loadedChanges } from '../support/loaded-changes.ts';
import { assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const ROWS = Number(process.env['LOAD_ROWS'] ?? 200_000);
const COPY_KILLS = 4;
const KILLS = Number(process.env['LOAD_KILLS'] ?? 20);
/** More of them are made where a file of the table ends. */
const PIECES = 300;
const ROWS_PER_PIECE = Math.ceil(ROWS / PIECES);
/** Then so many in the hand-over. */
const LATE_KILLS = 3;
/** A piece is in its transaction while the next is read: so much may be published or read anew after a kill. */
const PIECES_IN_HAND = 2;
/** Read, and not acknowledged or not noted as that: fewer than this. */
const PIECES_AHEAD = 6;
/** The kills end here: what is left has to be more than what is published before one that is meant. */
const LAST_PIECE = PIECES - 20;
/** Of a load that is given up: whatever of it compaction has left is in the way of the one that counts. */
const PIECES_GIVEN_UP = 40;
const BETWEEN_COMMITS_MS = 4000;
/** Many segments are closed while the load goes on: only those are compacted. */
const SEGMENT_MS = 500;
/** Moving all rows into the table. */
const LONGEST_STATEMENT = '120s';

describe('a load whose processes are killed again and again', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const later = undoing();
  let site: Site;
  let commits: DeltaCommits;

  before(async () => {
    site = later(
      await openSite({ prefix: 'backfill_crashes', settings: { polling: { minMs: 100, maxMs: 1000 } } }),
      (made) => made.drop(),
    );
    await compactAtOnce(site.kafka, `${site.name}_backfill`, SEGMENT_MS);
    commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed });
    await commits.large(ROWS);
  });

  function start(...more: string[]): BackfillRun {
    const args = [site.name, '--config', site.configFile, '--piece', String(ROWS_PER_PIECE), ...more];
    return later(startBackfill(args), (made) => made.kill());
  }

  it(
    'goes on from what was acknowledged, and ends with every row once and every change made meanwhile',
    { timeout: KILLS * 60_000 },
    async (t) => {
      const hint = `seed ${seed} (set CRASH_SEED)`;
      const old = start();
      await working(old, PIECES_GIVEN_UP, random);
      await old.kill();

      const runs = [start('--restart')];
      const spans: Span[] = [];
      const committing = repeating(later, async () => {
        const from = await rowsPublished(site);
        await commits.mixed();
        spans.push({ version: commits.version, from, to: await rowsPublished(site) });
        await delay(BETWEEN_COMMITS_MS);
      });
      let worker: Worker | undefined;
      const phases: string[] = [];
      let least = 0;
      while (phases.length < KILLS) {
        const run = runs.at(-1)!;
        // The first ones anywhere, so that beginning and exporting are hit as well; then each in its own share of the load.
        const share = (phases.length - 2 + random()) / (KILLS - 2);
        const left = Math.floor(share * LAST_PIECE) - ((await loads(site))[1]?.pieces ?? 0);
        await working(run, phases.length < 2 ? 0 : Math.max(2, left), random);
        const load = (await loads(site))[1];
        // Before there is a load, the feed would begin at the table's first version.
        if (load !== undefined)
          worker ??= later(startWorker(['--config', site.configFile]), (made) => made.kill());
        const loaded = await rowsLoaded(site, load);
        assert.ok(loaded >= least, `the load had ${least} rows beside its table, then ${loaded}`);
        least = loaded;
        const loader = run.loader();
        const victim = loader !== null && random() < 0.5 ? 'loader' : 'publisher';
        phases.push(`${victim} ${phaseOf(run)}`);
        if (victim === 'loader') {
          process.kill(loader!, 'SIGKILL');
          assert.notEqual(await run.ended(), 0);
        } else await run.kill();
        t.diagnostic(
          `kill ${phases.length}: ${phases.at(-1)}, ${load?.pieces ?? 0} pieces published, ${loaded} rows loaded`,
        );
        // Killed before anything was noted: there is nothing to resume.
        runs.push((await loads(site)).length === 1 ? start('--restart') : start('--resume'));
      }
      const { id, pieces } = (await loads(site))[1]!;
      assert.ok(pieces > LAST_PIECE * 0.8, `the kills have come no further than ${pieces} pieces`);
      // In the transaction that moves the rows, which cannot end as long as somebody reads them.
      for (let n = 0; n < LATE_KILLS; n++) {
        const reading = later(await holding(site, `deltaferry."load_${id}" IN ACCESS SHARE MODE`), (letGo) =>
          letGo(),
        );
        await handingOver(runs.at(-1)!);
        await delay(random() * 800);
        await runs.at(-1)!.kill();
        await reading();
        assert.equal((await loads(site))[1]!.phase, 'handover');
        // A crash of the server empties what is UNLOGGED: the rows, and with them the progress.
        if (n === 0) await crashedServer(site);
        // What comes then is to be there before the next process is.
        if (n === LATE_KILLS - 1) await statementsEnded(site);
        runs.push(start('--resume'));
        if (n > 0) continue;
        await until('rows to be loaded again', async () => (await rowsLoaded(site, { id })) > 0, {
          everyMs: 5,
        });
        await runs.at(-1)!.kill();
        runs.push(start('--resume'));
      }
      // And once more when all that is left is one transaction, which has not begun.
      const blocked = later(await holding(site, 'public.employees IN ROW EXCLUSIVE MODE'), (letGo) =>
        letGo(),
      );
      await handingOver(runs.at(-1)!);
      await runs.at(-1)!.kill();
      await committing.stop();
      await blocked();
      runs.push(start('--resume'));
      const last = runs.at(-1)!;
      assert.equal(await last.ended(), 0, textOf(last));
      t.diagnostic(assertBoundedMemory(runs));

      const killed = `${hint}; ${tally(phases)}`;
      const [givenUp, load, ...others] = await loads(site);
      assert.equal(givenUp!.phase, 'failed', killed);
      assert.equal(load!.phase, 'live', killed);
      assert.deepEqual(others, [], `one load, resumed; ${killed}`);
      const begun = runs.map(({ lines }) => lines.filter(({ msg }) => msg === 'publish begins').length);
      // Three publications say that the load has begun, that everything is there, and that it was read.
      const again = begun.reduce((sum, n) => sum + n, 0) - load!.pieces;
      t.diagnostic(`${load!.pieces} pieces, ${again} begun again; ${killed}`);
      assert.ok(phases.filter((phase) => / publish/.test(phase)).length >= KILLS / 2, killed);
      assert.ok(again <= (KILLS + 1) * PIECES_IN_HAND, `${again} pieces were published again; ${killed}`);

      const changes = await loadedChanges(site, commits, load!.version);
      const loaded = changes.loaded.map(({ key }) => key);
      assert.equal(load!.rows, loaded.length, killed);
      const written = load!.rows + givenUp!.pieces * ROWS_PER_PIECE;
      const keys = await committedKeys(site, `${site.name}_backfill`);
      t.diagnostic(`${written - keys.length} of ${written} records were compacted away`);
      assert.ok(keys.length < written, `nothing was compacted; ${killed}`);
      const onTopic = new Set(keys);
      assert.deepEqual(
        loaded.filter((key) => !onTopic.has(key)),
        [],
        `rows that are not on the topic; ${killed}`,
      );
      const isLoaded = new Set(loaded);
      const order = keys.filter((key) => isLoaded.has(key));
      const shares = loadShares(changes.later, spans, order, PIECES_AHEAD * ROWS_PER_PIECE);
      t.diagnostic(`version ${load!.version} of ${commits.version}, then ${JSON.stringify(shares)}`);
      assertShares(shares);

      await until('the last change', () => isPublished(worker!.lines, commits.version), {
        timeoutMs: 120_000,
      });
      await caughtUp(site, 120_000);
      await endsWell(worker!);
      await assertHistory(site, [...changes.loaded, ...changes.later], hint);
    },
  );

  it(
    'fills another database from the topic, however often that is killed',
    { timeout: COPY_KILLS * 60_000 },
    async (t) => {
      const copy = await openCopy(site, later);
      const from = (...more: string[]): BackfillRun =>
        later(startBackfill([site.name, '--config', copy.configFile, ...more]), (made) => made.kill());
      const there: Site = { ...site, ...copy };
      let run = from('--from', 'topic');
      const runs = [run];
      const hits: string[] = [];
      while (hits.length < COPY_KILLS) {
        const before = await rowsLoaded(there, (await loads(there))[0]);
        await until(
          'rows to be loaded',
          async () => {
            if (!run.alive()) throw new Error(`the load ended by itself: ${textOf(run)}`);
            return (
              (await loads(there)).length > 0 &&
              (hits.length === 0 || (await rowsLoaded(there, (await loads(there))[0])) > before)
            );
          },
          { everyMs: 1 },
        );
        const loader = run.loader();
        const victim = loader !== null && random() < 0.5 ? 'loader' : 'backfill';
        if (victim === 'loader') {
          process.kill(loader!, 'SIGKILL');
          assert.notEqual(await run.ended(), 0);
        } else await run.kill();
        hits.push(`${victim}, ${await rowsLoaded(there, (await loads(there))[0])} rows`);
        t.diagnostic(`kill ${hits.length}: ${hits.at(-1)}`);
        run = from('--resume');
        runs.push(run);
      }
      assert.equal(await run.ended(), 0, textOf(run));
      t.diagnostic(assertBoundedMemory(runs));
      const worker = later(startWorker(['--config', copy.configFile, '--only', 'postgres-history']), (made) =>
        made.kill(),
      );
      await caughtUp(there, 120_000);
      await endsWell(worker);
      assert.equal(await content(there), await content(site), `seed ${seed} (set CRASH_SEED)`);
    },
  );
});

/** One text for all that the history holds. */
async function content({ pool }: Site): Promise<string | undefined> {
  const { rows } = await pool.query<{ all: string }>(
    `SELECT count(*) || ' rows, ' || md5(string_agg(concat_ws('|', emp_id, name, salary, is_active, on_date, off_date), '\n' ORDER BY emp_id, on_date)) AS all
     FROM public.employees`,
  );
  return rows[0]?.all;
}

async function rowsPublished(site: Site): Promise<number> {
  return (await loads(site))[1]?.rows ?? 0;
}

/** Waits until the rows are moved into the table, or about to be. */
async function handingOver(run: BackfillRun): Promise<void> {
  const told = () => {
    if (!run.alive()) throw new Error(textOf(run));
    return isMoving(run);
  };
  await until('the hand-over', told, { timeoutMs: 300_000 });
}

const isMoving = ({ printed }: BackfillRun): boolean => printed.some((line) => line.includes('moving'));

/** Waits until the run has begun so many publications, or is over the start at least; then a little. */
async function working(run: BackfillRun, publications: number, random: () => number): Promise<void> {
  const deadline = performance.now() + 240_000;
  while (run.lines.filter(({ msg }) => msg === 'publish begins').length < publications && !isMoving(run)) {
    if (!run.alive()) throw new Error(`the load ended by itself: ${textOf(run)}`);
    if (performance.now() > deadline) throw new Error(`nothing is published: ${textOf(run)}`);
    await delay(1);
  }
  await delay(random() * (publications === 0 ? 3000 : 100));
  if (!run.alive()) throw new Error(`the load was done before the kill: ${textOf(run)}`);
}

/** What the publisher was doing, by the last line of its log. */
function phaseOf({ lines, printed }: BackfillRun): string {
  const last = lines.findLast(({ msg }) => /^(publish (begins|ends)|log opened)$/.test(msg))?.msg;
  return last ?? (printed.length === 0 ? 'at the start' : 'before the log was open');
}

interface FoundLoad {
  readonly id: string;
  readonly phase: string;
  readonly version: number;
  readonly rows: number;
  /** Published by now. */
  readonly pieces: number;
}

async function loads(site: Site): Promise<FoundLoad[]> {
  const { rows } = await site.pool.query<FoundLoad>(
    `SELECT id, phase, version::int, published_rows::int AS rows,
            (SELECT count(*)::int FROM deltaferry.load_parts WHERE load = l.id AND published_at IS NOT NULL) AS pieces
     FROM deltaferry.loads l ORDER BY started_at`,
  );
  return rows;
}

/** Those of killed processes: the server sees only then that they are gone. */
async function statementsEnded(site: Site): Promise<void> {
  await until(
    'the statements of killed processes to end',
    async () => {
      const { rows } = await site.pool.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'deltaferry backfill%'`,
      );
      return rows[0]!.n === 0;
    },
    { timeoutMs: 120_000 },
  );
}

async function crashedServer(site: Site): Promise<void> {
  const { rows } = await site.pool.query<{ names: string }>(
    `SELECT string_agg(format('deltaferry.%I', relname), ', ') AS names FROM pg_class
     WHERE relname LIKE 'load\\_2%' AND relkind = 'r' AND relpersistence = 'u'`,
  );
  // The statement of a process that was killed goes on to its end, and has the rows locked until then.
  await site.pool.query(
    `BEGIN; SET LOCAL lock_timeout = '${LONGEST_STATEMENT}'; TRUNCATE ${rows[0]!.names}; COMMIT`,
  );
}

/** Rows of a load beside its table, as its own progress has them and as they are. */
async function rowsLoaded(site: Site, load: Pick<FoundLoad, 'id'> | undefined): Promise<number> {
  if (load === undefined) return 0;
  const { rows } = await site.pool.query<{ counted: string; there: string }>(
    `SELECT (SELECT coalesce(sum(rows), 0) FROM deltaferry."load_${load.id}_progress") AS counted,
            (SELECT count(*) FROM deltaferry."load_${load.id}") AS there`,
  );
  const { counted, there } = rows[0]!;
  assert.equal(counted, there, 'the rows and their progress are written together');
  return Number(there);
}
