import type { DirectionDemo } from './direction.ts';
import type { Employee } from './employee-history.ts';
import { readHistoryTable } from './history-table.ts';
import { commitTimes, replayCommit, type ReplayTables } from './replay.ts';
import { count, secondsSince } from './report.ts';
import { describe, differences, expectedVersions, type ReplayRow } from './truth.ts';

export interface DeltaToPostgres extends DirectionDemo {
  readonly employees: readonly Employee[];
  readonly commits: readonly (readonly ReplayRow[])[];
  readonly tables: ReplayTables;
}

/** Replays the history as Delta commits and compares what arrives in Postgres, version by version. */
export async function deltaToPostgres(demo: DeltaToPostgres): Promise<boolean> {
  const { commits, tables, warehouse, live, report, signal } = demo;
  const began = performance.now();
  const published = live.published['delta-feed'];
  const applied = live.applied['postgres-history'];
  let made = 0;
  const show = () =>
    report.progress(
      `commits ${made}/${commits.length}   published ${published.changes}   applied ${applied.changes}` +
        `   lag ${published.changes - applied.changes}   ${applied.latencies.summary()}`,
    );
  await live.during(async () => {
    for (let k = 1; k <= commits.length; k += 1) {
      signal.throwIfAborted();
      await replayCommit(warehouse, tables, k);
      made = k;
      show();
    }
    // Version 0 created the table; each commit is one version.
    await live.settled(() => published.version >= commits.length && applied.changes >= published.changes);
  }, show);
  signal.throwIfAborted();
  report.line(
    `Published ${count(published.changes, 'change')}, applied ${applied.changes}, in ${secondsSince(began)}; ` +
      `from a commit in Delta to visible in Postgres: ${applied.latencies.summary()}.`,
  );
  const times = await commitTimes(warehouse, tables.target, commits.length);
  await demo.beforeVerify?.(demo.config);
  return await compare(demo, times);
}

async function compare(
  { employees, config, live, report }: DeltaToPostgres,
  times: readonly number[],
): Promise<boolean> {
  const expected = expectedVersions(employees, times);
  const found = await readHistoryTable(config);
  const current = (rows: readonly { isActive: boolean }[]) => rows.filter(({ isActive }) => isActive).length;
  report.line(
    `Replayed truth:   ${count(expected.length, 'version')}, ${current(expected)} of them current.`,
  );
  report.line(`Postgres history: ${count(found.length, 'version')}, ${current(found)} of them current.`);
  const wrong = differences(expected, found);
  if (wrong.length > 0) {
    report.line(`DIFFERENT: ${count(wrong.length, 'version')}. The first:`);
    for (const { expected: want, found: have } of wrong.slice(0, 5))
      report.line(`  expected ${describe(want)}\n  found    ${describe(have)}`);
    return false;
  }
  // A version's start is a change, and so is its end where no other version follows.
  const changes = expected.length + employees.filter(({ leaves }) => leaves).length;
  const published = live.published['delta-feed'].changes;
  if (published !== changes) {
    report.line(`DIFFERENT: ${count(changes, 'change')} made in Delta, ${published} published.`);
    return false;
  }
  report.line('VERIFIED: both hold the same, version by version.');
  return true;
}
