import type { Change, Micros } from '../../src/change/change.ts';
import type { DeltaCommits, Employee, ExpectedChange } from './delta-commits.ts';
import { employeeChange } from './records.ts';
import type { Site } from './site.ts';

/** What a history is made of that was loaded from a version of the commits' table. */
export interface LoadedChanges {
  /** The rows of the version. */
  readonly loaded: readonly Change[];
  /** What was committed after it. */
  readonly later: readonly Change[];
  /** What had been committed up to it. */
  readonly earlier: readonly Change[];
}

export async function loadedChanges(
  site: Site,
  { changes }: DeltaCommits,
  version: number,
): Promise<LoadedChanges> {
  const times = await commitTimes(site);
  const change = (op: Change['op'], key: string, row: Employee, at: number): Change =>
    employeeChange(Number(key), { op, ...row, table: site.name, position: at, ts: times.get(at)! });
  const made = ({ key, before, after, version: at }: ExpectedChange): Change =>
    change(after === null ? 'delete' : before === null ? 'insert' : 'update', key, (after ?? before)!, at);
  const rows = new Map<string, Employee | null>();
  for (const { key, after } of changes.filter((each) => each.version <= version)) rows.set(key, after);
  return {
    loaded: [...rows].flatMap(([key, row]) => (row === null ? [] : [change('snapshot', key, row, version)])),
    later: changes.filter((each) => each.version > version).map(made),
    earlier: changes.filter((each) => each.version <= version).map(made),
  };
}

/** When each version was committed. */
async function commitTimes(site: Site): Promise<Map<number, Micros>> {
  const rows = await site.warehouse.query({
    doing: 'looking when versions were committed',
    sql: `SELECT DISTINCT _commit_version AS version, unix_micros(_commit_timestamp) AS ts
          FROM table_changes('${site.deltaTable}', 1)`,
  });
  return new Map(rows.map(({ version, ts }) => [Number(version), Number(ts)]));
}
