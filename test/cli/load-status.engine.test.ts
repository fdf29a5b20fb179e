import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { before, describe, it } from 'node:test';
import type { LoadStatus, Status } from '../../src/service/status.ts';
import { startBackfill, textOf, type BackfillRun } from '../support/backfill-run.ts';
import { endsWell } from '../support/ends-well.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';
import { deltaferry } from './spawned.ts';

/** Two ranges of keys that are compared at once, and a part of a third. */
const ROWS = 45_000;
const COMPARED = 40_000;
/** In the third. */
const LATE_KEY = 44_000;
/** A duration, as a regular expression. */
const TOOK = String.raw`(?:\d+ s|\d+:\d\d min)`;

interface Noted {
  readonly id: string;
  readonly version: string | null;
  readonly stage: string | null;
  readonly read: number;
  readonly published: number;
  readonly applied: number;
  readonly compared: number;
}

describe('a load that another process carries out, in the status', () => {
  const later = undoing();
  let site: Site;

  before(async () => {
    site = later(await openSite({ prefix: 'load_status' }), (made) => made.drop());
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), CAST(id % 1000 AS DECIMAL(12,2)) FROM range(${ROWS})`,
    });
  });

  const backfill = (...args: string[]): BackfillRun =>
    later(startBackfill([site.name, '--config', site.configFile, '--piece', '5000', ...args]), (made) =>
      made.kill(),
    );

  /** What `deltaferry status` says of it: to programs, and to people. */
  async function status(): Promise<{ readonly load: LoadStatus; readonly text: string }> {
    const run = (...args: string[]) =>
      deltaferry(['status', '--config', site.configFile, '--no-delta', ...args], dirname(site.configFile));
    const [data, text] = await Promise.all([run('--json'), run()]);
    assert.deepEqual([data.code, text.code], [0, 0], data.stderr + text.stderr);
    const { load } = (JSON.parse(data.stdout) as Status).tables[0]!;
    assert.ok(load !== null, data.stdout);
    return { load, text: text.stdout.split('\n').find((line) => line.startsWith('  load '))! };
  }

  async function noted(): Promise<Noted | undefined> {
    const { rows } = await site.pool.query<Noted>(
      `SELECT id, version, stage, read_rows::int AS read, published_rows::int AS published,
              applied_rows::int AS applied, compared_rows::int AS compared
       FROM deltaferry.loads ORDER BY started_at DESC LIMIT 1`,
    );
    return rows[0];
  }

  /** Waits while the load goes on. */
  async function during(run: BackfillRun, what: string, condition: (load: Noted) => boolean): Promise<Noted> {
    return await until(what, async () => {
      if (!run.alive()) throw new Error(textOf(run));
      const load = await noted();
      return load !== undefined && condition(load) && load;
    });
  }

  /** Holds what a statement locks; resolves to what lets go of it, and to when it did so by the database's clock. */
  async function holding(statement: string): Promise<() => Promise<Date>> {
    const client = await site.pool.connect();
    let held = true;
    later(client, () => held && client.release(true));
    await client.query(`BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; ${statement}`);
    return async () => {
      const { rows } = await client.query<{ now: Date }>('SELECT clock_timestamp() AS now');
      await client.query('COMMIT');
      held = false;
      client.release();
      return rows[0]!.now;
    };
  }

  /** One that nobody loads rows of, though all of them are published. */
  async function published(run: BackfillRun, earlier?: string): Promise<() => Promise<Date>> {
    const { id } = await during(run, 'the load to begin', (load) => load.id !== earlier);
    const letGo = await holding(`LOCK TABLE deltaferry."load_${id}_progress" IN SHARE MODE`);
    await during(run, 'every row to be published', (load) => load.read === ROWS && load.published === ROWS);
    return letGo;
  }

  const inTable = async (): Promise<number> => {
    const { rows } = await site.pool.query<{ n: number }>(
      'SELECT count(*)::int AS n FROM public.employees WHERE off_date IS NULL',
    );
    return rows[0]!.n;
  };

  /** How many rows a load says it has loaded, in its last line. */
  function lastLine({ printed }: BackfillRun): string | undefined {
    const line = printed.at(-1) ?? '';
    return new RegExp(`^${site.name}: ([\\d,]+) rows of version 1 loaded in ${TOOK} \\([\\d,]+/s\\)$`).exec(
      line,
    )?.[1];
  }

  it(
    'has stopped with an error until somebody goes on with it, and ends when it is given up',
    { timeout: 180_000 },
    async () => {
      const first = backfill();
      const letGo = await published(first);
      await first.kill();
      await letGo();
      await site.pool.query(`UPDATE deltaferry.loads SET error = 'the disk is full'`);
      const stopped = await status();
      assert.deepEqual([stopped.load.running, stopped.load.error], [false, 'the disk is full']);
      assert.match(stopped.text, /nobody carries it out; stopped with: the disk is full$/);

      const rowsLocked = await holding('LOCK TABLE public.employees IN ROW EXCLUSIVE MODE');
      const second = backfill('--resume');
      await during(second, 'it to go on', ({ stage }) => stage === 'handing over');
      const goesOn = await status();
      assert.deepEqual([goesOn.load.running, goesOn.load.error, goesOn.load.finishedAt], [true, null, null]);
      assert.ok(!goesOn.text.includes('stopped with'), goesOn.text);
      await second.kill();
      await rowsLocked();

      const given = backfill('--give-up');
      assert.equal(await given.ended(), 0, textOf(given));
      assert.match((await status()).text, new RegExp(`: failed, .*; ended at \\d{4}-.*Z after ${TOOK}$`));
    },
  );

  it(
    'has read, published and applied so many rows, is moved into its table, and has ended',
    { timeout: 180_000 },
    async () => {
      const earlier = (await noted())?.id;
      const rowsLocked = await holding('LOCK TABLE public.employees IN ROW EXCLUSIVE MODE');
      const run = backfill();
      const letGo = await published(run, earlier);
      const loading = await status();
      const { load } = loading;
      assert.deepEqual(
        [load.stage, load.running, load.totalRows, load.read, load.published],
        ['loading', true, ROWS, ROWS, ROWS],
      );
      assert.ok(load.applied < ROWS, `${load.applied} rows applied`);
      assert.deepEqual(load.perSecond, { read: 0, published: 0, applied: 0, compared: 0 });
      assert.equal(load.secondsLeft, null, 'it stands still');
      assert.match(loading.text, /; 45,000 of 45,000 read, 45,000 published, [\d,]+ \(\d+%\) applied$/);

      await letGo();
      await during(run, 'the rows to be moved', ({ stage }) => stage === 'handing over');
      const moving = await status();
      assert.deepEqual(
        [moving.load.stage, moving.load.phase, moving.load.applied, moving.load.finishedAt],
        ['handing over', 'handover', ROWS, null],
      );
      assert.match(moving.text, /45,000 \(100%\) applied; moving the rows into the table/);
      assert.ok(moving.load.handoverSeconds! > 0);
      assert.ok(moving.load.secondsLeft === null || moving.load.secondsLeft > 0);

      const moved = await rowsLocked();
      assert.equal(await run.ended(), 0, textOf(run));
      assert.equal(lastLine(run), '45,000', textOf(run));
      assert.equal(await inTable(), ROWS);
      const ended = await status();
      assert.match(
        ended.text,
        new RegExp(`: live, .*; 45,000 rows loaded; ended at \\d{4}-.*Z after ${TOOK}$`),
      );
      const { rows } = await site.pool.query<{ finished: Date }>(
        `SELECT finished_at AS finished FROM deltaferry.loads WHERE phase = 'live'`,
      );
      assert.ok(rows[0]!.finished >= moved, 'it has not ended before its rows were moved');
    },
  );

  it(
    'is compared with a table that holds rows: so many of all, and about so long',
    { timeout: 240_000 },
    async () => {
      const worker = later(startWorker(['--config', site.configFile]), (made) => made.kill());
      await site.pool.query(`UPDATE public.employees SET name = 'wrong' WHERE emp_id = ${LATE_KEY}`);
      const rowLocked = await holding(`SELECT FROM public.employees WHERE emp_id = ${LATE_KEY} FOR UPDATE`);

      const run = backfill();
      await during(run, 'two ranges to be compared', ({ compared }) => compared === COMPARED);
      const { load, text } = await status();
      assert.deepEqual(
        [load.stage, load.phase, load.way, load.running, load.compared],
        ['handing over', 'handover', 'reconcile', true, COMPARED],
      );
      assert.ok(load.perSecond!.compared > 0 && load.secondsLeft! > 0, JSON.stringify(load));
      assert.match(text, /; 40,000 \(88%\) compared with the table \([\d,]+\/s\); about .+ left$/);
      await until('the load itself to say so', () =>
        run.printed.some((line) => /: 40,000 of 45,000 rows \(88%\) compared with the table · /.test(line)),
      );

      await rowLocked();
      assert.equal(await run.ended(), 0, textOf(run));
      assert.equal(lastLine(run), '45,000', textOf(run));
      assert.equal(await inTable(), ROWS);
      await endsWell(worker);
    },
  );
});
