import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { restartPart, startStack, stopStack, type Endpoints, type PartName } from '../../src/stack/stack.ts';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { committedKeys } from '../support/load-records.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { enginesForTests } from '../support/engines-jvm.ts';

const ROWS = 20_000;
const ROWS_PER_PIECE = 200;

interface Restart {
  readonly part: PartName;
  readonly how: 'killed' | 'restarted';
}

const RESTARTS: readonly Restart[] = [
  { part: 'kafka', how: 'killed' },
  { part: 'postgres', how: 'restarted' },
  { part: 'warehouse', how: 'killed' },
  { part: 'postgres', how: 'killed' },
];

describe('engines that are restarted under a load', () => {
  const later = undoing();
  const dir = later(mkdtempSync(join(tmpdir(), 'deltaferry-load-restarts-')), (made) =>
    rm(made, { recursive: true, force: true }),
  );
  // Everybody may enter it: as root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  let endpoints: Endpoints;

  before(async () => {
    enginesForTests();
    later(dir, () => stopStack({ dir, wipe: true }));
    endpoints = await startStack({ dir, ownerPid: process.pid, wipeWithOwner: true });
  });

  /** Restarts one engine after the other while the load publishes, and waits for the load's end. */
  async function underRestarts(
    t: TestContext,
    site: Site,
    restarts: readonly Restart[],
    ...more: string[]
  ): Promise<void> {
    const args = [site.name, '--config', site.configFile, '--piece', String(ROWS_PER_PIECE), ...more];
    const run = later(startBackfill(args), (made) => made.kill());
    const published = (): number => run.lines.filter(({ msg }) => msg === 'publish ends').length;
    for (const { part, how } of restarts) {
      const before = published();
      await until(
        'more to be published',
        () => {
          if (!run.alive()) throw new Error(textOf(run));
          return published() >= before + 5;
        },
        { timeoutMs: 180_000, everyMs: 5 },
      );
      await restartPart(dir, part, how === 'killed' ? { signal: 'SIGKILL' } : {});
      t.diagnostic(`${part} ${how} after ${published()} of ${ROWS / ROWS_PER_PIECE} pieces`);
      assert.ok(run.alive(), textOf(run));
    }
    assert.equal(await run.ended(), 0, textOf(run));
    const again = run.printed.filter((line) => line.includes('trying again'));
    t.diagnostic(`${again.length} failures were tried again`);
    assert.ok(again.length >= restarts.length, textOf(run));
    // Three more say that the load has begun, that everything is there, and that it was read.
    const pieces = ROWS / ROWS_PER_PIECE;
    assert.ok(published() <= pieces + restarts.length + 3, `${published()} publications`);
    assert.equal((await committedKeys(site, `${site.name}_backfill`)).length, ROWS);
  }

  it('it goes on by itself, and ends with every row once', { timeout: 600_000 }, async (t) => {
    const site = later(await openSite({ prefix: 'load_restarts', endpoints }), (made) => made.drop());
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), CAST(id % 1000 AS DECIMAL(12,2)) FROM range(${ROWS})`,
    });
    await underRestarts(t, site, RESTARTS);
    const { rows } = await site.pool.query<Record<string, string | boolean>>(
      `SELECT count(*) AS rows, count(DISTINCT emp_id) AS keys,
              bool_and(name = 'Employee ' || emp_id AND salary = emp_id % 1000 AND is_active AND off_date IS NULL) AS exact
       FROM public.employees`,
    );
    assert.deepEqual(rows[0], { rows: String(ROWS), keys: String(ROWS), exact: true });
  });

  it('one into Delta goes on by itself, too', { timeout: 600_000 }, async (t) => {
    const site = later(
      await openSite({ prefix: 'load_restarts_back', endpoints, direction: 'both' }),
      (made) => made.drop(),
    );
    await site.pool.query(
      `BEGIN; SET LOCAL deltaferry.origin = 'older';
       INSERT INTO public.employees (emp_id, name, salary, is_active, on_date)
       SELECT n, 'Employee ' || n, n % 1000, true, '2020-01-01Z' FROM generate_series(0, ${ROWS - 1}) AS n; COMMIT`,
    );
    // While the warehouse is away, all that is left is published.
    await underRestarts(t, site, RESTARTS.slice(0, 3), '--from', 'postgres');
    const [found] = await site.warehouse.query({
      doing: 'looking',
      sql: `SELECT count(*) AS rows, count(DISTINCT emp_id) AS keys,
              bool_and(name = concat('Employee ', emp_id) AND salary = emp_id % 1000) AS exact FROM ${site.deltaTable}`,
    });
    assert.deepEqual(
      [Number(found?.['rows']), Number(found?.['keys']), found?.['exact']],
      [ROWS, ROWS, true],
    );
  });
});
