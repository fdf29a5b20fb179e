import type { Micros } from '../change/change.ts';
import type { Employee } from './employee-history.ts';

/** One row of the history table, times in microseconds. */
export interface HistoryVersion {
  readonly empId: number;
  readonly name: string;
  readonly salary: string;
  readonly isActive: boolean;
  readonly from: Micros;
  readonly to: Micros | null;
}

export type ReplayRow =
  | { readonly op: 'upsert'; readonly empId: number; readonly name: string; readonly salary: string }
  | { readonly op: 'delete'; readonly empId: number };

/** Commit `k` (from 1) holds the k-th version of every employee and deletes whoever has left by then. */
export function commitsOf(employees: readonly Employee[]): ReplayRow[][] {
  const last = Math.max(...employees.map(({ versions, leaves }) => versions.length + (leaves ? 1 : 0)));
  return Array.from({ length: last }, (_, k) =>
    employees.flatMap(({ id, versions, leaves }): ReplayRow[] => {
      const version = versions[k];
      if (version !== undefined) return [{ op: 'upsert', empId: id, ...version }];
      return leaves && k === versions.length ? [{ op: 'delete', empId: id }] : [];
    }),
  );
}

/** What the history table must hold, given the commit time of each commit; ordered by employee, then time. */
export function expectedVersions(
  employees: readonly Employee[],
  commitTimes: readonly Micros[],
): HistoryVersion[] {
  const expected: HistoryVersion[] = [];
  for (const { id, versions, leaves } of employees.toSorted((a, b) => a.id - b.id)) {
    const starts = versions.flatMap((version, k) => {
      const before = versions[k - 1];
      const unchanged =
        before !== undefined && before.name === version.name && before.salary === version.salary;
      return unchanged ? [] : [k];
    });
    starts.forEach((k, n) => {
      const end = starts[n + 1] ?? (leaves ? versions.length : undefined);
      expected.push({
        empId: id,
        ...versions[k]!,
        isActive: end === undefined,
        from: commitTimes[k]!,
        to: end === undefined ? null : commitTimes[end]!,
      });
    });
  }
  return expected;
}

export interface Difference {
  readonly empId: number;
  readonly expected: HistoryVersion | null;
  readonly found: HistoryVersion | null;
}

/** Compares version by version; both sides ordered by employee, then time. */
export function differences(
  expected: readonly HistoryVersion[],
  found: readonly HistoryVersion[],
): Difference[] {
  const all: Difference[] = [];
  const left = new Map<string, HistoryVersion>();
  const twice: HistoryVersion[] = [];
  for (const version of found) {
    if (left.has(versionId(version))) twice.push(version);
    else left.set(versionId(version), version);
  }
  for (const version of expected) {
    const twin = left.get(versionId(version));
    left.delete(versionId(version));
    if (twin === undefined || describe(twin) !== describe(version))
      all.push({ empId: version.empId, expected: version, found: twin ?? null });
  }
  for (const version of [...left.values(), ...twice])
    all.push({ empId: version.empId, expected: null, found: version });
  return all;
}

function versionId({ empId, from }: HistoryVersion): string {
  return `${empId}@${from}`;
}

/** A version in one line, times as ISO text with microseconds. */
export function describe(version: HistoryVersion | null): string {
  if (version === null) return '(no such version)';
  const { empId, name, salary, isActive, from, to } = version;
  const until = to === null ? '…' : instant(to);
  return `${empId} ${name} ${salary} [${instant(from)}, ${until}) ${isActive ? 'current' : 'ended'}`;
}

function instant(micros: Micros): string {
  const millis = Number(BigInt(micros) / 1000n);
  return `${new Date(millis).toISOString().slice(0, -1)}${String(BigInt(micros) % 1000n).padStart(3, '0')}Z`;
}

/** What one employee is at the moment. */
export interface CurrentEmployee {
  readonly empId: number;
  readonly name: string;
  /** Exact text with two decimals. */
  readonly salary: string;
}

/** The current employees by their id. */
export type CurrentState = ReadonlyMap<number, CurrentEmployee>;

/** What holds after these transactions, and how many changes they amount to: equal rows are none. */
export function stateAfter(
  before: CurrentState,
  transactions: readonly (readonly ReplayRow[])[],
): { readonly state: CurrentState; readonly changes: number } {
  const state = new Map(before);
  let changes = 0;
  for (const row of transactions.flat()) {
    const known = state.get(row.empId);
    if (row.op === 'delete') {
      if (state.delete(row.empId)) changes += 1;
    } else if (known?.name !== row.name || known.salary !== row.salary) {
      state.set(row.empId, { empId: row.empId, name: row.name, salary: row.salary });
      changes += 1;
    }
  }
  return { state, changes };
}

/** The employees that are not what was expected, as texts. */
export function stateDifferences(
  expected: CurrentState,
  found: readonly CurrentEmployee[],
): { readonly expected: string; readonly found: string }[] {
  const text = (one: CurrentEmployee | undefined) =>
    one === undefined ? '(no such employee)' : `${one.empId} ${one.name} ${one.salary}`;
  const left = new Map(expected);
  const wrong = found.flatMap((one) => {
    const want = left.get(one.empId);
    left.delete(one.empId);
    return text(want) === text(one) ? [] : [{ expected: text(want), found: text(one) }];
  });
  return [
    ...wrong,
    ...Array.from(left.values(), (want) => ({ expected: text(want), found: text(undefined) })),
  ];
}

/** What a year brings: a rise for most, some leave, some are hired, and a few come back later. */
export function nextYear(state: CurrentState, transactions = 20): ReplayRow[][] {
  const staff = [...state.values()].toSorted((a, b) => a.empId - b.empId);
  const last = staff.at(-1)?.empId ?? 0;
  const year = Array.from({ length: transactions }, (): ReplayRow[] => []);
  staff.forEach(({ empId, name, salary }, n) => {
    const when = n % transactions;
    const rise = (by: bigint): string => {
      const cents = BigInt(salary.replace('.', '')) + by;
      return `${cents / 100n}.${String(cents % 100n).padStart(2, '0')}`;
    };
    const leaves = n % 9 === 8;
    year[when]!.push(leaves ? { op: 'delete', empId } : { op: 'upsert', empId, name, salary: rise(123_45n) });
    // Some of those who have left come back, in a later transaction.
    const back = year[when + 5];
    if (leaves && n % 4 === 0) back?.push({ op: 'upsert', empId, name, salary: rise(5_000_00n) });
  });
  year.forEach((rows, n) =>
    rows.push({ op: 'upsert', empId: last + 1 + n, name: `New colleague ${n + 1}`, salary: '52000.00' }),
  );
  return year;
}
