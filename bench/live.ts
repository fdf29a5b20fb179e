/**
 * `npm run bench -- live [section …]`: both directions, each figure beside the raw limit of this machine in this run.
 * Sections: commit, latency, apply, memory (Delta to Postgres); postgresCommit, postgresLatency (Postgres to Delta).
 * Then log (the log poller alone) and capture (what capture costs its writers), which are programs of their own.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
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
  processorSeconds,
} from './figures.ts';
import { copyIntoTwin, fillHistory, publishRandomUpdates } from './load.ts';
import { postgresCommit, postgresLatency } from './to-delta.ts';
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

/** A way to change 1,000 keys by one commit. */
interface CommitLoad {
  readonly what: string;
  readonly sql: (site: Site, n: number) => string;
}

const KEYS_PER_COMMIT = 1000;

/**
 * Spark needs a sixth of a second for the first and up to a second for the other, on the cores that the
 * service wants too: only the first keeps the pace of a commit a second on a small machine.
 */
const LOADS: readonly CommitLoad[] = [
  {
    what: 'new keys',
    sql: (site, n) =>
      `INSERT INTO ${deltaTable(site)} SELECT id, concat('Employee ', id), CAST(50000 AS DECIMAL(12,2))
       FROM range(${n * KEYS_PER_COMMIT}, ${(n + 1) * KEYS_PER_COMMIT}, 1, 1)`,
  },
  { what: 'updated keys', sql: updateSql },
];

const sections: Record<string, () => Promise<Figure[]>> = {
  commit,
  latency,
  apply,
  memory,
  postgresCommit,
  postgresLatency,
};

const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
/** On servers of their own, once the others are stopped. */
const programs = ['log', 'capture'];
const known = [...Object.keys(sections), ...programs];
const unknown = wanted.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`no section ${unknown.join(', ')}; there are: ${known.join(', ')}`);
  process.exit(2);
}
try {
  for (const [name, section] of Object.entries(sections))
    if (wanted.length === 0 || wanted.includes(name)) printFigures(name, await section());
} finally {
  await closeStack();
}
for (const name of programs)
  if (wanted.length === 0 || wanted.includes(name)) {
    const file = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
    const { status } = spawnSync(process.execPath, [...process.execArgv, file], { stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
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
    const processor: number[] = [];
    for (let round = 0; round < 9; round += 1) {
      const before = processorSeconds(worker.pid);
      const { visibleMs, version } = await updateAll(site, COMMIT_ROWS);
      // The first ones warm up all sides: Spark and Kafka compile what is new for half a minute.
      if (round > 3) {
        times.push(visibleMs);
        processor.push(processorSeconds(worker.pid) - before);
      }
      reads.push(await readCommit(site, version));
    }
    const copyMs = await copyIntoTwin(site, COMMIT_ROWS);
    const took = median(times);
    const raw = median(reads) + copyMs;
    return [
      {
        what: '100,000-change commit in Delta until all visible (median of 5)',
        figure: seconds(took),
        limit: `${seconds(median(reads))} read of the change feed + ${seconds(copyMs)} COPY`,
        ratio: `${(took / raw).toFixed(2)}× the raw limit`,
        budget: '≤ 6 s, aim 3 s',
      },
      {
        what: 'worker, processor time of one commit',
        figure: `${median(processor).toFixed(1)} s`,
        limit: '',
        ratio: '',
        budget: '',
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
  const figures: Figure[] = [];
  for (const load of LOADS) figures.push(...(await latencyOf(load)));
  return figures;
}

async function latencyOf(load: CommitLoad): Promise<Figure[]> {
  const keys = KEYS_PER_COMMIT;
  const lasting = Number(process.env['BENCH_SECONDS'] ?? 60);
  const warming = 5;
  const site = await openSite(`bench_latency_${load.what.replace(' ', '_')}`);
  await createDeltaTable(site, keys);
  const worker = run(site);
  try {
    await untilVisible(site, 'off_date IS NULL', keys);
    // For whoever watches: without it every look would read the whole history, on the same two cores.
    await site.postgres.query(`CREATE INDEX ON ${historyTable(site)} (on_date)`);
    for (let n = 1; n <= warming; n += 1) {
      await site.warehouse.query({ doing: 'committing', sql: load.sql(site, n) });
      await untilVersions(site, keys * (n + 1));
    }
    const samples: { value: number; weight: number }[] = [];
    const stop = new AbortController();
    const seen = (value: number, weight: number): void => void samples.push({ value, weight });
    const watching = watchVisibility(site, keys, seen, stop.signal);
    const began = performance.now();
    const took: number[] = [];
    let late = 0;
    for (let n = 0; n < lasting; n += 1) {
      const due = began + n * 1000;
      const wait = due - performance.now();
      if (wait > 0) await delay(wait);
      else if (wait < -500) late += 1;
      const asked = performance.now();
      await site.warehouse.query({ doing: 'committing', sql: load.sql(site, 1 + warming + n) });
      took.push(performance.now() - asked);
    }
    const pace = (lasting * keys) / ((performance.now() - began) / 1000);
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
        what: `latency p50, 1,000 ${load.what} a second for ${lasting} s (${late} commits begun late, ${Math.round(pace)}/s)`,
        figure: seconds(p50),
        limit: `${seconds(median(raw))} read of one commit's changes, ${seconds(median(took))} for the commit itself`,
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

function deltaTable(site: Site): string {
  return site.config.tables[0]!.delta.table;
}

function updateSql(site: Site): string {
  return `UPDATE ${deltaTable(site)} SET salary = salary + 1`;
}

async function updateAll(site: Site, rows: number): Promise<{ visibleMs: number; version: number }> {
  await site.warehouse.query({ doing: 'updating every row', sql: updateSql(site) });
  const { micros, version } = await newestCommit(site);
  await untilVisible(site, `on_date = timestamptz 'epoch' + ${micros} * interval '1 microsecond'`, rows);
  return { visibleMs: Date.now() - micros / 1000, version };
}

async function untilVersions(site: Site, versions: number): Promise<void> {
  await until(`${versions} versions`, async () => {
    const { rows } = await site.postgres.query<{ n: string }>(
      `SELECT count(*) AS n FROM ${historyTable(site)}`,
    );
    return Number(rows[0]!.n) >= versions;
  });
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

/** Tells of rows as they become visible, how long after their commit; a commit with all its keys is not looked at again. */
async function watchVisibility(
  site: Site,
  keys: number,
  seen: (latencyMs: number, rows: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const table = historyTable(site);
  const known = new Map<string, number>();
  const { rows } = await site.postgres.query<{ newest: string }>(
    `SELECT max(on_date)::text AS newest FROM ${table}`,
  );
  let from = rows[0]!.newest;
  while (!signal.aborted) {
    const { rows: found } = await site.postgres.query<{ at: string; ms: string; n: string }>(
      `SELECT on_date::text AS at, (extract(epoch FROM on_date) * 1000)::bigint AS ms, count(*) AS n
       FROM ${table} WHERE on_date > $1::timestamptz GROUP BY on_date ORDER BY on_date`,
      [from],
    );
    const now = Date.now();
    for (const { at, ms, n } of found) {
      const fresh = Number(n) - (known.get(at) ?? 0);
      if (fresh > 0) seen(now - Number(ms), fresh);
      known.set(at, Number(n));
    }
    for (const { at, n } of found) {
      if (Number(n) < keys) break;
      from = at;
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
