import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Change, Micros } from '../../src/change/change.ts';
import { startBackfill, textOf, type BackfillRun } from '../support/backfill-run.ts';
import { tally } from '../support/batches.ts';
import { seededRandom } from '../support/change-generator.ts';
import { compactAtOnce } from '../support/compaction.ts';
import { createDeltaCommits, type DeltaCommits, type Employee } from '../support/delta-commits.ts';
import { openCopy } from '../support/copy.ts';
import { endsWell } from '../support/ends-well.ts';
import { isPublished } from '../support/feed-progress.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { committedKeys } from '../support/load-records.ts';
import { employeeChange } from '../support/records.ts';
import { openSite, type Site } from '../support/site.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const ROWS = Number(process.env['LOAD_ROWS'] ?? 200_000);
const COPY_KILLS = 4;
const KILLS = Number(process.env['LOAD_KILLS'] ?? 20);
const ROWS_PER_PIECE = Math.ceil(ROWS / 300);
/** A piece is in its transaction while the next is read: so much may be published or read anew after a kill. */
const PIECES_IN_HAND = 2;
/** Of a load that is given up: whatever of it compaction has left is in the way of the one that counts. */
const PIECES_GIVEN_UP = 40;
const BETWEEN_COMMITS_MS = 4000;
/** Many segments are closed while the load goes on: only those are compacted. */
const SEGMENT_MS = 500;

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
      const committing = repeating(later, async () => {
        await commits.mixed();
        await delay(BETWEEN_COMMITS_MS);
      });
      let worker: Worker | undefined;
      const phases: string[] = [];
      let least = 0;
      while (phases.length < KILLS) {
        const run = runs.at(-1)!;
        // The first ones anywhere, so that beginning and exporting are hit as well; then well into the load.
        const aim = phases.length < 2 ? 0 : 2 + Math.floor(random() * 6);
        await working(run, aim, random);
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
        t.diagnostic(`kill ${phases.length}: ${phases.at(-1)}, ${loaded} rows loaded`);
        // Killed before anything was noted: there is nothing to resume.
        runs.push((await loads(site)).length === 1 ? start('--restart') : start('--resume'));
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
      await until('the hand-over', () => runs.at(-1)!.printed.some((line) => line.includes('moving')), {
        timeoutMs: 300_000,
      });
      await runs.at(-1)!.kill();
      await committing.stop();
      await blocked.query('COMMIT');
      blocked.release();
      runs.push(start('--resume'));
      const last = runs.at(-1)!;
      assert.equal(await last.ended(), 0, textOf(last));

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
      assert.ok(again <= (KILLS + 3) * PIECES_IN_HAND, `${again} pieces were published again; ${killed}`);

      const changes = employeeChanges(site, commits, await commitTimes(site, load!.version), load!.version);
      const loaded = changes.filter(({ op }) => op === 'snapshot').map(({ key }) => key);
      t.diagnostic(
        `version ${load!.version} of ${commits.version}: ${changes.length - loaded.length} changes after it`,
      );
      assert.ok(changes.length > loaded.length, 'nobody changed anything meanwhile');
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

      await until('the last change', () => isPublished(worker!.lines, commits.version), {
        timeoutMs: 120_000,
      });
      await caughtUp(site, 120_000);
      await endsWell(worker!);
      await assertHistory(site, changes, hint);
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
      }
      assert.equal(await run.ended(), 0, textOf(run));
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

/** When each version was committed, from this one on. */
async function commitTimes(site: Site, from: number): Promise<Map<number, Micros>> {
  const rows = await site.warehouse.query({
    doing: 'looking when versions were committed',
    sql: `SELECT DISTINCT _commit_version AS version, unix_micros(_commit_timestamp) AS ts
          FROM table_changes('${site.deltaTable}', ${from})`,
  });
  return new Map(rows.map(({ version, ts }) => [Number(version), Number(ts)]));
}

/** The rows of the version, then what was changed since. */
function employeeChanges(
  site: Site,
  { changes }: DeltaCommits,
  times: ReadonlyMap<number, Micros>,
  version: number,
): Change[] {
  const change = (op: Change['op'], key: string, row: Employee, at: number): Change =>
    employeeChange(Number(key), { op, ...row, table: site.name, position: at, ts: times.get(at)! });
  const rows = new Map<string, Employee | null>();
  for (const { key, after } of changes.filter((each) => each.version <= version)) rows.set(key, after);
  const loaded = [...rows].flatMap(([key, row]) =>
    row === null ? [] : [change('snapshot', key, row, version)],
  );
  const since = changes
    .filter((each) => each.version > version)
    .map(({ key, before, after, version: at }) =>
      change(after === null ? 'delete' : before === null ? 'insert' : 'update', key, (after ?? before)!, at),
    );
  return [...loaded, ...since];
}

/** Waits until the run has begun so many publications, or is over the start at least; then a little. */
async function working(run: BackfillRun, publications: number, random: () => number): Promise<void> {
  const deadline = performance.now() + 240_000;
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

async function crashedServer(site: Site): Promise<void> {
  const { rows } = await site.pool.query<{ names: string }>(
    `SELECT string_agg(format('deltaferry.%I', relname), ', ') AS names FROM pg_class
     WHERE relname LIKE 'load\\_2%' AND relkind = 'r' AND relpersistence = 'u'`,
  );
  await site.pool.query(`TRUNCATE ${rows[0]!.names}`);
}

/** Rows of a load beside its table, as its own progress has them and as they are. */
async function rowsLoaded(site: Site, load: FoundLoad | undefined): Promise<number> {
  if (load === undefined) return 0;
  const { rows } = await site.pool.query<{ counted: string; there: string }>(
    `SELECT (SELECT coalesce(sum(rows), 0) FROM deltaferry."load_${load.id}_progress") AS counted,
            (SELECT count(*) FROM deltaferry."load_${load.id}") AS there`,
  );
  const { counted, there } = rows[0]!;
  assert.equal(counted, there, 'the rows and their progress are written together');
  return Number(there);
}
