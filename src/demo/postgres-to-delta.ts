import { setTimeout as delay } from 'node:timers/promises';
import type { Databricks } from '../connections/databricks/client.ts';
import { quoteDatabricksQualified } from '../connections/identifiers.ts';
import type { DirectionDemo } from './direction.ts';
import { openEmployees, type EmployeesTable } from './employees-table.ts';
import { count, secondsSince } from './report.ts';
import { stateAfter, stateDifferences, type CurrentState, type ReplayRow } from './truth.ts';

export interface PostgresToDelta extends DirectionDemo {
  /** What holds before: the current versions on both sides. */
  readonly before: CurrentState;
  /** One transaction each. */
  readonly transactions: readonly (readonly ReplayRow[])[];
}

/** Between two transactions, so that one can watch. */
const PACE_MS = 200;

/**
 * Makes the transactions in Postgres and compares what arrives in Delta, row by row. Also that every
 * change crossed once and none came back.
 */
export async function postgresToDelta(demo: PostgresToDelta): Promise<boolean> {
  const { before, transactions, config, live, report, signal } = demo;
  const { state, changes } = stateAfter(before, transactions);
  const published = live.published['postgres-log'];
  const applied = live.applied['delta-merge'];
  const echo = {
    published: live.published['delta-feed'].changes,
    applied: live.applied['postgres-history'].changes,
  };
  const began = performance.now();
  let made = 0;
  const show = () =>
    report.progress(
      `transactions ${made}/${transactions.length}   published ${published.changes}   merged ${applied.changes}` +
        `   lag ${published.changes - applied.changes}   ${applied.latencies.summary()}`,
    );
  const employees = openEmployees(config);
  try {
    await live.during(async () => {
      for (const rows of transactions) {
        signal.throwIfAborted();
        await employees.write(rows);
        made += 1;
        show();
        await delay(PACE_MS, undefined, { signal }).catch(() => {});
      }
      await live.settled(() => published.changes >= changes && applied.changes >= published.changes);
    }, show);
    signal.throwIfAborted();
    report.line(
      `Published ${count(published.changes, 'change')}, merged ${applied.changes}, in ${secondsSince(began)}; ` +
        `from a transaction in Postgres to visible in Delta: ${applied.latencies.summary()}.`,
    );
    await demo.beforeVerify?.(config);
    if (!(await compareStates(demo, state, employees))) return false;
  } finally {
    await employees.close();
  }
  const came = {
    published: live.published['delta-feed'].changes - echo.published,
    applied: live.applied['postgres-history'].changes - echo.applied,
  };
  if (published.changes !== changes || came.published > 0 || came.applied > 0) {
    report.line(
      `DIFFERENT: ${count(changes, 'change')} made in Postgres, ${published.changes} published, ${came.published} came back from Delta, ${came.applied} applied in Postgres.`,
    );
    return false;
  }
  report.line('VERIFIED: both hold the same, key by key; every change crossed once, and none came back.');
  return true;
}

async function compareStates(
  { warehouse, config, report }: PostgresToDelta,
  expected: CurrentState,
  employees: EmployeesTable,
): Promise<boolean> {
  const sides = [
    { name: 'Postgres', found: await employees.current() },
    { name: 'Delta', found: await readDelta(warehouse, config.tables[0]!.delta.table) },
  ];
  report.line(`Expected: ${count(expected.size, 'current employee')}.`);
  let same = true;
  for (const { name, found } of sides) {
    report.line(`${name}: ${count(found.length, 'current employee')}.`);
    const wrong = stateDifferences(expected, found);
    if (wrong.length === 0) continue;
    same = false;
    report.line(`DIFFERENT in ${name}: ${count(wrong.length, 'employee')}. The first:`);
    for (const { expected: want, found: have } of wrong.slice(0, 5))
      report.line(`  expected ${want}\n  found    ${have}`);
  }
  return same;
}

async function readDelta(warehouse: Databricks, table: string) {
  const rows = await warehouse.query({
    doing: 'reading the table',
    sql: `SELECT emp_id, name, CAST(salary AS STRING) AS salary FROM ${quoteDatabricksQualified(table)}`,
  });
  return rows.map((row) => ({
    empId: Number(row['emp_id']),
    name: String(row['name']),
    salary: String(row['salary']),
  }));
}
