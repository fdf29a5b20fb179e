import { setTimeout as delay } from 'node:timers/promises';
import { startWorker, type Worker } from '../test/support/worker.ts';
import { until } from '../test/support/until.ts';
import { median, peakMegabytes, seconds, type Figure } from './figures.ts';
import { createDeltaTable, historyTable, newestCommit, openSite, STACK_DIR, type Site } from './site.ts';

const TABLE_ROWS = 1_000_000;
const CHANGED_ROWS = 100_000;
const ROUNDS = 3;

/** An UPDATE of 100,000 rows in Postgres, from its commit until the last of them is committed in Delta. */
export async function postgresCommit(): Promise<Figure[]> {
  const site = await openFilled('bench_postgres_commit', TABLE_ROWS);
  const worker = await startWay(site);
  try {
    const times: number[] = [];
    const merges: number[] = [];
    // The first one warms up both sides.
    for (let round = 0; round <= ROUNDS; round += 1) {
      const salary = `${60_000 + round}.00`;
      const { rows } = await site.postgres.query<{ ms: string }>(
        `WITH changed AS (UPDATE ${historyTable(site)} SET salary = ${salary} WHERE off_date IS NULL AND emp_id % ${TABLE_ROWS / CHANGED_ROWS} = ${round} RETURNING 1)
         SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms FROM (SELECT count(*) FROM changed) done`,
      );
      const committed = Math.max(Number(rows[0]!.ms), Date.now());
      await until(
        'the merges of the whole UPDATE',
        async () => (await applied(worker)) >= CHANGED_ROWS * (round + 1),
        { timeoutMs: 300_000, everyMs: 50 },
      );
      const { micros } = await newestCommit(site);
      await expectRows(site, `salary = ${salary}`, CHANGED_ROWS);
      if (round > 0) times.push(micros / 1000 - committed);
    }
    for (let round = 0; round < ROUNDS; round += 1) merges.push(await rawMerge(site, round));
    const took = median(times);
    const raw = median(merges);
    return [
      {
        what: `UPDATE of 100,000 of 1,000,000 rows in Postgres until all in Delta (median of ${ROUNDS})`,
        figure: seconds(took),
        limit: `${seconds(raw)} MERGE of the same rows from a Delta table`,
        ratio: `${(took / raw).toFixed(2)}× the raw limit`,
        budget: '≤ 15 s, aim 8 s',
      },
      memory(worker),
    ];
  } finally {
    await worker.stop();
    await site.close();
  }
}

const TRANSACTIONS_PER_SECOND = 100;
const ROWS_PER_TRANSACTION = 10;
const WARM_MERGES = 20;

/** A thousand changes a second for a minute, each of a key of its own; Delta's own commit times tell how late each came. */
export async function postgresLatency(): Promise<Figure[]> {
  const lasting = Number(process.env['BENCH_SECONDS'] ?? 60);
  const transactions = lasting * TRANSACTIONS_PER_SECOND;
  const rows = transactions * ROWS_PER_TRANSACTION;
  const warm = 5_000;
  const site = await openFilled('bench_postgres_latency', rows + warm);
  const worker = await startWay(site);
  try {
    // Spark compiles a MERGE's code for its first dozen: the warehouse of a real site has done that long ago.
    for (let merged = 0; merged < warm; merged += warm / WARM_MERGES) {
      await site.postgres.query(
        `UPDATE ${historyTable(site)} SET salary = salary + 1 WHERE off_date IS NULL AND emp_id >= $1 AND emp_id < $2`,
        [rows + merged, rows + merged + warm / WARM_MERGES],
      );
      const wanted = merged + warm / WARM_MERGES;
      await until('the warm-up to arrive', async () => (await applied(worker)) >= wanted);
    }
    const from = (await newestCommit(site)).version + 1;
    const began = performance.now();
    let late = 0;
    for (let n = 0; n < transactions; n += 1) {
      const wait = began + (n * 1000) / TRANSACTIONS_PER_SECOND - performance.now();
      if (wait > 1) await delay(wait);
      else if (wait < -100) late += 1;
      await site.postgres.query(
        `UPDATE ${historyTable(site)} SET name = (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text
         WHERE off_date IS NULL AND emp_id BETWEEN $1 AND $2`,
        [n * ROWS_PER_TRANSACTION, (n + 1) * ROWS_PER_TRANSACTION - 1],
      );
    }
    await until('the last transaction to arrive', async () => (await applied(worker)) >= warm + rows);
    const to = (await newestCommit(site)).version;
    const [seen] = await site.warehouse.query({
      doing: 'reading how late each change came',
      sql: `SELECT count(*) AS n, percentile(late, 0.5) AS p50, percentile(late, 0.99) AS p99, max(late) AS most FROM (
              SELECT unix_millis(_commit_timestamp) - CAST(name AS BIGINT) AS late
              FROM table_changes('${deltaTable(site)}', ${from}, ${to}) WHERE _change_type = 'update_postimage')`,
    });
    if (Number(seen!['n']) !== rows) throw new Error(`${String(seen!['n'])} of ${rows} changes arrived`);
    const raw = median([
      await rawSmallMerge(site, 0),
      await rawSmallMerge(site, 1),
      await rawSmallMerge(site, 2),
    ]);
    const figure = (what: string, value: number, budget: string): Figure => ({
      what,
      figure: seconds(value),
      limit: `${seconds(raw)} MERGE of 1,000 rows from a Delta table`,
      ratio: `${(value / raw).toFixed(2)}× the raw limit`,
      budget,
    });
    return [
      figure(
        `Postgres to Delta at 1,000 changes/s for ${lasting} s, p50 (${to - from + 1} commits, ${late} transactions begun late)`,
        Number(seen!['p50']),
        '',
      ),
      figure('the same, p99', Number(seen!['p99']), '≤ 5 s'),
      figure('the same, worst', Number(seen!['most']), ''),
      memory(worker),
    ];
  } finally {
    await worker.stop();
    await site.close();
  }
}

/** Both tables hold the same rows before anything is captured. */
async function openFilled(name: string, rows: number): Promise<Site> {
  const site = await openSite(name, 'both');
  await createDeltaTable(site, rows);
  await site.postgres.query(`SET deltaferry.origin = 'bench'`);
  await site.postgres.query(
    `INSERT INTO ${historyTable(site)} (emp_id, name, salary, is_active, on_date)
     SELECT id, 'Employee ' || id, 50000 + id % 1000, true, '2020-01-01Z' FROM generate_series(0, ${rows - 1}) AS id`,
  );
  await site.postgres.query('RESET deltaferry.origin');
  await site.postgres.query(`VACUUM ANALYZE ${historyTable(site)}`);
  await site.postgres.query('CHECKPOINT');
  return site;
}

async function startWay(site: Site): Promise<Worker> {
  const worker = startWorker(
    ['--config', site.configFile, '--stack', STACK_DIR, '--only', 'postgres-log,delta-merge'],
    {
      onLine: (line) => {
        if (line.level >= 50 || line.level === 0) console.error(JSON.stringify(line));
      },
    },
  );
  await until('the worker to be ready', async () => (await fetch(`${urlOf(worker)}/readyz`)).status === 200);
  return worker;
}

function urlOf(worker: Worker): string {
  const url = worker.lines.find((line) => typeof line['url'] === 'string')?.['url'];
  if (typeof url !== 'string') throw new Error('the worker serves no metrics yet');
  return url;
}

/** Changes merged so far, by the worker's own count. */
async function applied(worker: Worker): Promise<number> {
  const text = await (await fetch(`${urlOf(worker)}/metrics`)).text();
  return Number(/^deltaferry_changes_applied_total\{.*sink="delta-merge".*\} (\S+)$/m.exec(text)?.[1] ?? 0);
}

const deltaTable = (site: Site): string => site.config.tables[0]!.delta.table;

async function expectRows(site: Site, condition: string, rows: number): Promise<void> {
  const [found] = await site.warehouse.query({
    doing: 'counting',
    sql: `SELECT count(*) AS n FROM ${deltaTable(site)} WHERE ${condition}`,
  });
  if (Number(found!['n']) !== rows)
    throw new Error(`${String(found!['n'])} of ${rows} rows with ${condition}`);
}

const rawMerge = (site: Site, round: number): Promise<number> =>
  mergeFromDelta(
    site,
    `SELECT * FROM ${deltaTable(site)} WHERE emp_id % ${TABLE_ROWS / CHANGED_ROWS} = ${round}`,
  );

const rawSmallMerge = (site: Site, round: number): Promise<number> =>
  mergeFromDelta(
    site,
    `SELECT * FROM ${deltaTable(site)} WHERE emp_id BETWEEN ${round * 1000} AND ${round * 1000 + 999}`,
  );

/** The raw limit: a MERGE of so many rows that lie in Delta already, milliseconds. */
async function mergeFromDelta(site: Site, rows: string): Promise<number> {
  const run = (sql: string) => site.warehouse.query({ doing: 'measuring a MERGE', sql });
  const source = `${deltaTable(site)}_source`;
  await run(`CREATE OR REPLACE TABLE ${source} USING DELTA AS ${rows}`);
  const began = performance.now();
  await run(
    `MERGE INTO ${deltaTable(site)} t USING ${source} s ON t.emp_id = s.emp_id
     WHEN MATCHED THEN UPDATE SET name = s.name, salary = s.salary
     WHEN NOT MATCHED THEN INSERT (emp_id, name, salary) VALUES (s.emp_id, s.name, s.salary)`,
  );
  return performance.now() - began;
}

function memory(worker: Worker): Figure {
  return {
    what: 'worker, peak resident memory',
    figure: `${peakMegabytes(worker.pid)} MB`,
    limit: '',
    ratio: '',
    budget: '≤ 512 MB',
  };
}
