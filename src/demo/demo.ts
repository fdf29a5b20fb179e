import { openDatabricks } from '../connections/databricks/client.ts';
import { databricksOptions } from '../service/connect.ts';
import type { Config } from '../service/config/schema.ts';
import type { Logger } from '../service/logger.ts';
import { ROLES, type Role } from '../service/run.ts';
import { setupTables } from '../service/setup.ts';
import { DIRECTION_OF } from '../service/wire.ts';
import { shortLivedWarehouse } from '../stack/short-lived.ts';
import { startStack, stopStack } from '../stack/stack.ts';
import { demoConfig } from './demo-config.ts';
import { deltaToPostgres } from './delta-to-postgres.ts';
import { generateEmployeeHistory, readEmployeeHistory, type Employee } from './employee-history.ts';
import { howToLook } from './how-to-look.ts';
import { startService } from './live-service.ts';
import { postgresToDelta } from './postgres-to-delta.ts';
import { prepareReplay } from './replay.ts';
import { count, secondsSince, type DemoReport } from './report.ts';
import { commitsOf, nextYear, stateAfter, type CurrentState } from './truth.ts';

export const DIRECTIONS = ['delta-to-postgres', 'postgres-to-delta'] as const;
export type Direction = (typeof DIRECTIONS)[number];

export interface DemoOptions {
  /** A CSV file to replay; without it a history of the same shape is generated. */
  readonly input?: string;
  /** One direction alone; without it both run at once, and each is shown in turn. */
  readonly only?: Direction;
  /** Leaves the stack up at the end. */
  readonly keep: boolean;
  /** Folder of the demo's own stack; wiped at the start. */
  readonly dir: string;
  readonly report: DemoReport;
  readonly logger: Logger;
  /** Told how to take the stack's secrets out of a text, as soon as it is known. */
  readonly conceal: (clean: (text: string) => string) => void;
  /** Aborting stops everything that was started. */
  readonly signal: AbortSignal;
  /** For tests: called once everything of a direction is applied, before the comparison. */
  readonly beforeVerify?: Partial<Record<Direction, (config: Config) => Promise<void>>>;
}

const TABLES = { target: 'default.employees', replay: 'default.employees_replay' };

/**
 * Replays employee histories onto a Delta table and proves the Postgres history equal, then changes the
 * Postgres table and proves the Delta table equal; answers the exit code.
 */
export async function runDemo(options: DemoOptions): Promise<0 | 1> {
  const { report, dir, signal } = options;
  const employees =
    options.input === undefined ? generateEmployeeHistory() : await readEmployeeHistory(options.input);
  const began = performance.now();
  await stopStack({ dir, wipe: true });
  try {
    report.line('Starting Kafka, a schema registry, Postgres and Spark with Delta …');
    // The broker keeps its optimizing compiler: without it changes take half as long again.
    process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= shortLivedWarehouse;
    await startStack({
      dir,
      ...(options.keep ? {} : { ownerPid: process.pid }),
      onProgress: ({ part, state, seconds, text }) =>
        report.progress(`${part} ${text ?? state} (${seconds.toFixed(1)} s)`),
      signal,
    });
    report.line(`The stack is up after ${secondsSince(began)}.`);
    signal.throwIfAborted();
    return (await showAndVerify(employees, options)) ? 0 : 1;
  } finally {
    if (options.keep) report.line(howToLook(dir));
    else {
      await stopStack({ dir, wipe: true });
      report.line('Stopped what was started.');
    }
  }
}

async function showAndVerify(employees: readonly Employee[], options: DemoOptions): Promise<boolean> {
  const { report, signal, logger, only, beforeVerify } = options;
  const config = await demoConfig(options.dir, options.conceal);
  const warehouse = openDatabricks(databricksOptions(config));
  try {
    const commits = commitsOf(employees);
    const versions = employees.reduce((sum, employee) => sum + employee.versions.length, 0);
    report.line(
      `${count(employees.length, 'employee')} with ${count(versions, 'version')}, to be replayed as ` +
        `${only === 'postgres-to-delta' ? count(commits.length, 'Postgres transaction') : count(commits.length, 'Delta commit')}.`,
    );
    if (only !== 'postgres-to-delta') await prepareReplay(warehouse, TABLES, commits);
    await setupTables(config);
    signal.throwIfAborted();
    const live = startService({ config, roles: rolesIn(only), logger, signal });
    const common = { warehouse, config, live, report, signal };
    try {
      if (only !== 'postgres-to-delta') {
        report.line('From Delta to Postgres:');
        const before = beforeVerify?.['delta-to-postgres'];
        const delta = { ...common, employees, commits, tables: TABLES, beforeVerify: before };
        const same = await deltaToPostgres(delta);
        if (!same || only !== undefined) return same;
      }
      report.line('From Postgres to Delta:');
      const empty: CurrentState = new Map();
      const replayed = stateAfter(empty, commits).state;
      return await postgresToDelta({
        ...common,
        before: only === undefined ? replayed : empty,
        transactions: only === undefined ? nextYear(replayed) : commits,
        beforeVerify: beforeVerify?.['postgres-to-delta'],
      });
    } finally {
      await live.stop();
    }
  } finally {
    await warehouse.close();
  }
}

function rolesIn(only: Direction | undefined): readonly Role[] {
  return only === undefined ? ROLES : ROLES.filter((role) => DIRECTION_OF[role] === only);
}
