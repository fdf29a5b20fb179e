import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { peakMemory } from '../support/memory.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

const MOST_MEGABYTES = 512;
/** All that is looked at by who guesses how wide rows are. */
const NARROW = 1000;
const WIDE = 30_000;
const WIDTH = 10_000;
const DEADLINE_MS = 240_000;

/** 300 MB that compress to next to nothing, behind rows that say nothing of it. */
describe('rows of a table that are wide, and look narrow', () => {
  const later = undoing();

  async function load(t: TestContext, site: Site, ...more: string[]): Promise<void> {
    const run = later(startBackfill([site.name, '--config', site.configFile, ...more]), (made) =>
      made.kill(),
    );
    const peaks = { publisher: 0, loader: 0 };
    const look = (): boolean => {
      const loader = run.loader();
      peaks.publisher = Math.max(peaks.publisher, peakMemory(run.pid) ?? 0);
      if (loader !== null) peaks.loader = Math.max(peaks.loader, peakMemory(loader) ?? 0);
      return !run.alive();
    };
    await until('the load to end', look, { everyMs: 20, timeoutMs: DEADLINE_MS });
    assert.equal(await run.ended(), 0, textOf(run).slice(0, 5000));
    t.diagnostic(`peaks in MB: ${JSON.stringify(peaks)}`);
    for (const [what, megabytes] of Object.entries(peaks))
      assert.ok(megabytes <= MOST_MEGABYTES, `the ${what} took ${megabytes} MB`);
  }

  const ALL = {
    rows: String(NARROW + WIDE),
    keys: String(NARROW + WIDE),
    characters: String(NARROW + WIDE * WIDTH),
  };

  it('are loaded from Delta in bounded memory, each once', { timeout: DEADLINE_MS }, async (t) => {
    const site = later(await openSite({ prefix: 'wide_from_delta' }), (made) => made.drop());
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, repeat('x', IF(id < ${NARROW}, 1, ${WIDTH})), 1 FROM range(${NARROW + WIDE})`,
    });
    await load(t, site);
    const { rows } = await site.pool.query(
      `SELECT count(*)::text AS rows, count(DISTINCT emp_id)::text AS keys, sum(length(name))::text AS characters
       FROM public.employees WHERE off_date IS NULL`,
    );
    assert.deepEqual(rows[0], ALL);
  });

  it('are loaded from Postgres in bounded memory, each once', { timeout: DEADLINE_MS }, async (t) => {
    const site = later(await openSite({ prefix: 'wide_from_postgres', direction: 'both' }), (made) =>
      made.drop(),
    );
    // Not captured: only the load brings them.
    await site.pool.query(
      `BEGIN; SET LOCAL deltaferry.origin = 'delta';
       INSERT INTO public.employees (emp_id, name, salary, is_active, on_date)
       SELECT n, repeat('x', CASE WHEN n <= ${NARROW} THEN 1 ELSE ${WIDTH} END), 1, true, now() FROM generate_series(1, ${NARROW + WIDE}) AS n;
       COMMIT`,
    );
    await load(t, site, '--from', 'postgres');
    const [row] = await site.warehouse.query({
      doing: 'counting',
      sql: `SELECT CAST(count(*) AS STRING) AS rows, CAST(count(DISTINCT emp_id) AS STRING) AS keys, CAST(sum(length(name)) AS STRING) AS characters FROM ${site.deltaTable}`,
    });
    assert.deepEqual(row, ALL);
  });
});
