import assert from 'node:assert/strict';
import type { Change } from '../../src/change/change.ts';
import { employeeChange } from './records.ts';
import type { RunningService } from './service.ts';
import type { Site } from './site.ts';
import { until } from './until.ts';

/** An employee's change as the log poller would make it. */
export function capturedChange(id: number, given: Parameters<typeof employeeChange>[1] = {}): Change {
  return employeeChange(id, { origin: 'postgres', ts: Date.now() * 1000, ...given });
}

/** The Delta table of a site as a person sees it: id → name. */
export async function namesInDelta(site: Site): Promise<ReadonlyMap<number, string | null>> {
  const rows = await site.warehouse.query({
    doing: 'looking',
    sql: `SELECT emp_id, name FROM ${site.deltaTable}`,
  });
  const names = rows.map(({ emp_id, name }) => [Number(emp_id), name as string | null] as const);
  assert.equal(new Set(names.map(([id]) => id)).size, names.length, 'a key is there twice');
  return new Map(names);
}

/** Fails unless the Delta table holds these rows, id → name, and no others. */
export async function assertInDelta(
  site: Site,
  expected: ReadonlyMap<number, string | null>,
  hint: string,
): Promise<void> {
  const found = await namesInDelta(site);
  const off = [...new Set([...found.keys(), ...expected.keys()])].filter(
    (id) => found.get(id) !== expected.get(id),
  );
  const text = (name: string | null | undefined): string => name?.slice(0, 40) ?? '-';
  const shown = off
    .slice(0, 12)
    .map((id) => `${id}: ${text(found.get(id))}, expected ${text(expected.get(id))}`);
  assert.equal(off.length, 0, `${off.length} of ${expected.size} rows differ, ${hint}\n${shown.join('\n')}`);
}

/** What a person does in Delta. */
export function inDelta(site: Site, sql: string): Promise<unknown> {
  return site.warehouse.query({
    doing: 'a person’s work',
    sql: sql.replaceAll('TABLE_NAME', site.deltaTable),
  });
}

/** Waits until no record is left to be merged. */
export async function untilMerged(backlog: () => Promise<bigint>, service: RunningService): Promise<void> {
  await until('everything to be merged', async () => (await backlog()) === 0n).catch(
    async (error: unknown) => {
      throw new Error(JSON.stringify((await service.readyz()).parts), { cause: error });
    },
  );
}
