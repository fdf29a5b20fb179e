/**
 * `npm run bench -- live [section …]`: Delta to Postgres, each figure beside the raw limit of this machine in this run.
 * Sections: commit, latency, apply, memory.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { startWorker, type Worker } from '../test/support/worker.ts';
import { until } from '../test/support/until.ts';
import {
  median,
  peakMegabytes,
  perSecond,
  printFigures,
  seconds,
  weightedPercentile,
  type Figure,
} from './figures.ts';
import { copyIntoTwin, fillHistory, publishRandomUpdates } from './load.ts';
import {
  closeStack,
  createDeltaTable,
  historyTable,
  newestCommit,
  openSite,
  STACK_DIR,
  untilVisible,
  type Site,
} from './site.ts';

const COMMIT_ROWS = 100_000;

const sections: Record<string, () => Promise<Figure[]>> = { commit, latency, apply, memory };

const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
const unknown = wanted.filter((name) => !(name in sections));
if (unknown.length > 0) {
  console.error(`no section ${unknown.join(', ')}; there are: ${Object.keys(sections).join(', ')}`);
  process.exit(2);
}
try {
  for (const [name, section] of Object.entries(sections))
    if (wanted.length === 0 || wanted.includes(name)) printFigures(name, await section());
} finally {
  await closeStack();
}

/** A commit that updates 100,000 rows, from its commit timestamp until every new version is visible. */
async function commit(): Promise<Figure[]> {
  const site = await openSite('bench_commit');
  await createDeltaTable(site, COMMIT_ROWS);
  const worker = run(site);
  try {
    await untilVisible(site, 'off_date IS NULL', COMMIT_ROWS);
    const times: number[] = [];
    const reads: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      const { visibleMs, version } = await updateAll(site, COMMIT_ROWS);
      // The first one warms up both sides.
      if (round > 0) times.push(visibleMs);
      reads.push(await readCommit(site, version));
    }
    const copyMs = await copyIntoTwin(site, COMMIT_ROWS);
    const took = median(times);
    const raw = median(reads) + copyMs;
    return [
      {
        what: '100,000-change commit in Delta until all visible (median of 3)',
        figure: seconds(took),
        limit: `${seconds(median(reads))} read of the change feed + ${seconds(copyMs)} COPY`,
        ratio: `${(took / raw).toFixed(2)}× the raw limit`,
        budget: '≤ 6 s, aim 3 s',
      },
      {
        what: 'worker, peak resident memory',
        figure: `${peakMegabytes(worker.pid)} MB`,
        limit: '',
        ratio: '',
        budget: '≤ 512 MB',
      },
    ];
  } finally {
    await worker.stop();
    await site.close();
  }
}

/** One commit of 1,000 keys a second for a minute; visibility is seen by a connection that only reads. */
async function latency(): Promise<Figure[]> {
  const keys = 1000;
  const lasting = Number(process.env['BENCH_SECONDS'] ?? 60);
  const site = await openSite('bench_latency');
  await createDeltaTable(site, keys);
  const worker = run(site);
  try {
    await untilVisible(site, 'off_date IS NULL', keys);
    for (let warm = 0; warm < 5; warm += 1) await updateAll(site, keys);
    const samples: { value: number; weight: number }[] = [];
    const stop = new AbortController();
    const watching = watchVisibility(site, (value, weight) => samples.push({ value, weight }), stop.signal);
    const began = performance.now();
    let late = 0;
    for (let n = 0; n < lasting; n += 1) {
      const due = began + n * 1000;
      const wait = due - performance.now();
      if (wait > 0) await delay(wait);
      else if (wait < -500) late += 1;
      await site.warehouse.query({ doing: 'updating', sql: updateSql(site) });
    }
    await until(
      'the last commit to be visible',
      () => samples.reduce((sum, { weight }) => sum + weight, 0) >= lasting * keys,
    );
    stop.abort();
    await watching;
    const raw: number[] = [];
    for (let n = 0; n < 9; n += 1) raw.push(await readCommit(site, (await newestCommit(site)).version));
    const p50 = weightedPercentile(samples, 0.5);
    const p99 = weightedPercentile(samples, 0.99);
    return [
      {
        what: `latency p50 at 1,000 changes/s for ${lasting} s (${late} commits begun late)`,
        figure: seconds(p50),
        limit: `${seconds(median(raw))} read of one commit's changes`,
        ratio: `${(p50 / median(raw)).toFixed(2)}× the raw limit`,
        budget: '≤ 0.8 s, aim 0.4 s',
      },
      {
        what: 'latency p99',
        figure: seconds(p99),
        limit: seconds(median(raw)),
        ratio: `${(p99 / median(raw)).toFixed(2)}× the raw limit`,
        budget: '≤ 2 s, aim 1.2 s',
      },
    ];
  } finally {
    await worker.stop();
    await site.close();
  }
}

/** The history consumer alone, from a full topic into a history of a million keys in random order. */
async function apply(): Promise<Figure[]> {
  const figures: Figure[] = [];
  const changes = 300_000;
  for (const late of [0, 0.2]) {
    const site = await openSite(`bench_apply_${late * 100}`);
    await createDeltaTable(site, 0);
    await fillHistory(site, 1_000_000);
    const baseMicros = Date.parse('2024-01-01Z') * 1000;
    const { ms: publishMs } = await publishRandomUpdates(site, {
      changes,
      keys: 1_000_000,
      late,
      baseMicros,
    });
    await site.postgres.query('CHECKPOINT');
    const copyMs = await copyIntoTwin(site, changes);
    let began = 0;
    const worker = run(site, ['--only', 'postgres-history'], (msg) => {
      if (began === 0 && msg === 'apply begins') began = performance.now();
    });
    const appliedAll = async () => {
      const { rows } = await site.postgres.query<{ n: string }>(
        `SELECT count(*) AS n FROM ${historyTable(site)} WHERE on_date > '2021-01-01Z'`,
      );
      return Number(rows[0]!.n);
    };
    // A tie replaces a version, so the table may end with a few less than the changes.
    let last = -1;
    let ended = 0;
    await until(
      'the topic to be applied',
      async () => {
        const n = await lagOf(site, worker);
        if (n === 0 && ended === 0) ended = performance.now();
        last = n ?? last;
        return ended > 0;
      },
      { timeoutMs: 300_000, everyMs: 50 },
    );
    const ms = ended - began;
    const versions = await appliedAll();
    const peak = peakMegabytes(worker.pid);
    await worker.stop();
    await site.close();
    figures.push({
      what: `history apply, one consumer, ${late * 100}% late (${versions.toLocaleString('en')} versions, 1M keys, random)`,
      figure: perSecond(changes, ms),
      limit: `COPY ${perSecond(changes, copyMs)}, Kafka in ${perSecond(changes, publishMs)}`,
      ratio: `${(copyMs / ms).toFixed(2)} of COPY`,
      budget: late === 0 ? '≥ 30,000/s, aim 60,000/s' : '(same, with late changes)',
    });
    figures.push({
      what: 'worker, peak resident memory',
      figure: `${peak} MB`,
      limit: '',
      ratio: '',
      budget: '≤ 512 MB',
    });
  }
  return figures;
}

/** Peak memory with a commit of 100,000 changes and with one ten times as large. */
async function memory(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const rows of [COMMIT_ROWS, COMMIT_ROWS * 10]) {
    const site = await openSite(`bench_memory_${rows}`);
    await createDeltaTable(site, rows);
    const worker = run(site);
    const began = performance.now();
    await untilVisible(site, 'off_date IS NULL', rows);
    figures.push({
      what: `worker after a commit of ${rows.toLocaleString('en')} rows`,
      figure: `${peakMegabytes(worker.pid)} MB`,
      limit: '',
      ratio: perSecond(rows, performance.now() - began),
      budget: '≤ 512 MB',
    });
    await worker.stop();
    await site.close();
  }
  return figures;
}

function run(site: Site, args: readonly string[] = [], onMessage?: (msg: string) => void): Worker {
  return startWorker(['--config', site.configFile, '--stack', STACK_DIR, ...args], {
    onLine: (line) => {
      if (line.level >= 50 || line.level === 0) console.error(JSON.stringify(line));
      onMessage?.(line.msg);
    },
  });
}

function updateSql(site: Site): string {
  return `UPDATE ${site.config.tables[0]!.delta.table} SET salary = salary + 1`;
}

async function updateAll(site: Site, rows: number): Promise<{ visibleMs: number; version: number }> {
  await site.warehouse.query({ doing: 'updating every row', sql: updateSql(site) });
  const { micros, version } = await newestCommit(site);
  await untilVisible(site, `on_date = timestamptz 'epoch' + ${micros} * interval '1 microsecond'`, rows);
  return { visibleMs: Date.now() - micros / 1000, version };
}

/** The raw limit of reading: every row of one commit's change feed as the driver gives it; milliseconds. */
async function readCommit(site: Site, version: number): Promise<number> {
  const began = performance.now();
  await site.warehouse.query({
    doing: 'reading the change feed',
    sql: `SELECT * FROM table_changes('${site.config.tables[0]!.delta.table}', ${version}, ${version})`,
  });
  return performance.now() - began;
}

async function watchVisibility(
  site: Site,
  seen: (latencyMs: number, rows: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const table = historyTable(site);
  const known = new Map<string, number>();
  const { rows } = await site.postgres.query<{ newest: string }>(
    `SELECT max(on_date)::text AS newest FROM ${table}`,
  );
  const from = rows[0]!.newest;
  while (!signal.aborted) {
    const { rows: found } = await site.postgres.query<{ ms: string; n: string }>(
      `SELECT (extract(epoch FROM on_date) * 1000)::bigint AS ms, count(*) AS n FROM ${table}
       WHERE on_date > $1::timestamptz AND on_date > clock_timestamp() - interval '60 seconds' GROUP BY 1`,
      [from],
    );
    const now = Date.now();
    for (const { ms, n } of found) {
      const fresh = Number(n) - (known.get(ms) ?? 0);
      if (fresh > 0) seen(now - Number(ms), fresh);
      known.set(ms, Number(n));
    }
    await delay(10);
  }
}

/** What is left of the topic for this worker, by its own metric; undefined before it serves. */
async function lagOf(site: Site, worker: Worker): Promise<number | undefined> {
  const url = worker.lines.find((line) => typeof line['url'] === 'string')?.['url'] as string | undefined;
  if (url === undefined) return undefined;
  const text = await (await fetch(`${url}/metrics`)).text();
  const lags = [...text.matchAll(/^deltaferry_partition_lag_records\{.*\} (\S+)$/gm)].map((match) =>
    Number(match[1]),
  );
  return lags.length === site.config.tables[0]!.partitions
    ? lags.reduce((sum, lag) => sum + lag, 0)
    : undefined;
}
