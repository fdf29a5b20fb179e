import { join, relative, resolve } from 'node:path';
import { openDatabricks, type Databricks } from '../connections/databricks/client.ts';
import { databricksOptions } from '../service/connect.ts';
import { loadConfig } from '../service/config/load.ts';
import type { Config } from '../service/config/schema.ts';
import type { Logger } from '../service/logger.ts';
import { runService } from '../service/run.ts';
import { setupTables } from '../service/setup.ts';
import { startStack, stopStack } from '../stack/stack.ts';
import { generateEmployeeHistory, readEmployeeHistory, type Employee } from './employee-history.ts';
import { readHistoryTable } from './history-table.ts';
import { commitTimes, prepareReplay, replayCommit } from './replay.ts';
import { Latencies, type DemoReport } from './report.ts';
import { commitsOf, describe, differences, expectedVersions } from './truth.ts';

export interface DemoOptions {
  /** A CSV file to replay; without it a history of the same shape is generated. */
  readonly input?: string;
  /** Leaves the stack up at the end. */
  readonly keep: boolean;
  /** Folder of the demo's own stack; wiped at the start. */
  readonly dir: string;
  readonly report: DemoReport;
  readonly logger: Logger;
  /** Aborting stops everything that was started. */
  readonly signal: AbortSignal;
  /** For tests: called once everything is applied, before the comparison. */
  readonly beforeVerify?: (config: Config) => Promise<void>;
}

const TABLES = { target: 'default.employees', replay: 'default.employees_replay' };
const SETTLE_TIMEOUT_MS = 60_000;

/** Replays employee histories onto a Delta table and proves the Postgres history equal; answers the exit code. */
export async function runDemo(options: DemoOptions): Promise<0 | 1> {
  const { report, dir, signal } = options;
  const employees =
    options.input === undefined ? generateEmployeeHistory() : await readEmployeeHistory(options.input);
  const began = performance.now();
  await stopStack({ dir, wipe: true });
  try {
    report.line('Starting Kafka, a schema registry, Postgres and Spark with Delta …');
    // A minute is too short for the warehouse's optimizing compiler to pay off, and it would take both cores.
    process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= '-XX:TieredStopAtLevel=1';
    await startStack({
      dir,
      ...(options.keep ? {} : { ownerPid: process.pid }),
      onProgress: ({ part, state, seconds, text }) =>
        report.progress(`${part} ${text ?? state} (${seconds.toFixed(1)} s)`),
    }).catch((error: unknown) => {
      // Ctrl-C also reaches what was just being started.
      signal.throwIfAborted();
      throw error;
    });
    report.line(`The stack is up after ${secondsSince(began)}.`);
    signal.throwIfAborted();
    return await replayAndVerify(employees, options);
  } finally {
    if (options.keep) report.line(howToLook(dir));
    else {
      await stopStack({ dir, wipe: true });
      report.line('Stopped what was started.');
    }
  }
}

async function replayAndVerify(employees: readonly Employee[], options: DemoOptions): Promise<0 | 1> {
  const { report, signal } = options;
  const config = await loadConfig({
    file: resolve(import.meta.dirname, '../../deltaferry.yaml'),
    stackDir: options.dir,
    overrides: { 'http.port': '0' },
  });
  const warehouse = openDatabricks(databricksOptions(config));
  try {
    const commits = commitsOf(employees);
    const versions = employees.reduce((sum, employee) => sum + employee.versions.length, 0);
    report.line(
      `${count(employees.length, 'employee')} with ${count(versions, 'version')}, to be replayed as ${count(commits.length, 'Delta commit')}.`,
    );
    await prepareReplay(warehouse, TABLES, commits);
    await setupTables(config);
    const outcome = await replay({ commits, config, warehouse, options });
    signal.throwIfAborted();
    const times = await commitTimes(warehouse, TABLES.target, commits.length);
    await options.beforeVerify?.(config);
    return await verify(employees, times, outcome, config, report);
  } finally {
    await warehouse.close();
  }
}

interface Outcome {
  readonly published: number;
  readonly applied: number;
  readonly seconds: string;
  readonly latency: string;
}

interface Replay {
  readonly commits: ReturnType<typeof commitsOf>;
  readonly config: Config;
  readonly warehouse: Databricks;
  readonly options: DemoOptions;
}

/** Runs the service while the commits are made, until everything published has been applied. */
async function replay({ commits, config, warehouse, options }: Replay): Promise<Outcome> {
  const { report, logger, signal } = options;
  const began = performance.now();
  const latencies = new Latencies();
  const done = { commits: 0, published: 0, applied: 0, version: -1 };
  const changed = new EventTarget();
  const show = () => {
    report.progress(
      `commits ${done.commits}/${commits.length}   published ${done.published}   applied ${done.applied}` +
        `   lag ${done.published - done.applied}   ${latencies.summary()}`,
    );
    changed.dispatchEvent(new Event('progress'));
  };
  const stop = new AbortController();
  const service = runService({
    config,
    roles: ['delta-feed', 'postgres-history'],
    logger,
    signal: AbortSignal.any([signal, stop.signal]),
    hooks: {
      onPublished: ({ changes, lastVersion }) => {
        done.published += changes;
        done.version = lastVersion;
        show();
      },
      onApplied: ({ latenciesMs }) => {
        done.applied += latenciesMs.length;
        latenciesMs.forEach((ms) => latencies.add(ms));
        show();
      },
    },
  });
  try {
    const work = (async () => {
      for (let k = 1; k <= commits.length; k += 1) {
        signal.throwIfAborted();
        await replayCommit(warehouse, TABLES, k);
        done.commits = k;
        show();
      }
      // Version 0 created the table; each commit is one version.
      await settled(changed, () => done.version >= commits.length && done.applied >= done.published, signal);
    })();
    await Promise.race([work, service.then(() => signal.throwIfAborted())]);
  } finally {
    stop.abort();
    await service;
  }
  return {
    published: done.published,
    applied: done.applied,
    seconds: secondsSince(began),
    latency: latencies.summary(),
  };
}

/** Resolves when the condition holds, or after a while without: the comparison then says what is missing. */
function settled(changed: EventTarget, condition: () => boolean, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      changed.removeEventListener('progress', check);
      resolve();
    };
    const check = () => condition() && finish();
    const timer = setTimeout(finish, SETTLE_TIMEOUT_MS);
    changed.addEventListener('progress', check);
    signal.addEventListener('abort', finish, { once: true });
    check();
  });
}

async function verify(
  employees: readonly Employee[],
  times: readonly (number | bigint)[],
  outcome: Outcome,
  config: Config,
  report: DemoReport,
): Promise<0 | 1> {
  const expected = expectedVersions(employees, times);
  const found = await readHistoryTable(config);
  report.line(
    `Published ${count(outcome.published, 'change')}, applied ${outcome.applied}, in ${outcome.seconds}; ` +
      `from a commit in Delta to visible in Postgres: ${outcome.latency}.`,
  );
  const current = (rows: readonly { isActive: boolean }[]) => rows.filter(({ isActive }) => isActive).length;
  report.line(
    `Replayed truth:   ${count(expected.length, 'version')}, ${current(expected)} of them current.`,
  );
  report.line(`Postgres history: ${count(found.length, 'version')}, ${current(found)} of them current.`);
  const wrong = differences(expected, found);
  if (wrong.length === 0) {
    report.line('VERIFIED: both hold the same, version by version.');
    return 0;
  }
  report.line(`DIFFERENT: ${count(wrong.length, 'version')}. The first:`);
  for (const { expected: want, found: have } of wrong.slice(0, 5))
    report.line(`  expected ${describe(want)}\n  found    ${describe(have)}`);
  return 1;
}

function howToLook(dir: string): string {
  const folder = relative(process.cwd(), dir) || '.';
  return [
    `The stack stays up. Its endpoints are in ${join(folder, 'stack.json')}; to look at each part:`,
    `  npx deltaferry stack status --dir ${folder}`,
    `  psql "$(node -p "require('./${join(folder, 'stack.json')}').postgres.url")" -c 'SELECT * FROM employees ORDER BY emp_id, on_date LIMIT 20'`,
    `  curl "$(node -p "require('./${join(folder, 'stack.json')}').registry.url")/subjects"`,
    `  tail ${join(folder, 'logs')}/*`,
    `Run the service against it, or stop it:`,
    `  npx deltaferry run --stack ${folder}`,
    `  npx deltaferry stack down --wipe --dir ${folder}`,
  ].join('\n');
}

function count(n: number, noun: string): string {
  return `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
}

function secondsSince(began: number): string {
  return `${((performance.now() - began) / 1000).toFixed(1)} s`;
}
