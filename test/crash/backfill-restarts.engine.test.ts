import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { restartPart, startStack, stopStack, type PartName } from '../../src/stack/stack.ts';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { committedKeys } from '../support/load-records.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { warehouseForTests } from '../support/warehouse-jvm.ts';

const ROWS = 40_000;
const ROWS_PER_PIECE = 200;

const RESTARTS: readonly { readonly part: PartName; readonly how: 'killed' | 'restarted' }[] = [
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
  let site: Site;

  before(async () => {
    warehouseForTests();
    later(dir, () => stopStack({ dir, wipe: true }));
    const endpoints = await startStack({ dir, ownerPid: process.pid, wipeWithOwner: true });
    site = later(await openSite({ prefix: 'load_restarts', endpoints }), (made) => made.drop());
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), CAST(id % 1000 AS DECIMAL(12,2)) FROM range(${ROWS})`,
    });
  });

  it('it goes on by itself, and ends with every row once', { timeout: 600_000 }, async (t) => {
    const args = [site.name, '--config', site.configFile, '--piece', String(ROWS_PER_PIECE)];
    const run = later(startBackfill(args), (made) => made.kill());
    const published = (): number => run.lines.filter(({ msg }) => msg === 'publish ends').length;
    for (const { part, how } of RESTARTS) {
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
    assert.ok(again.length >= RESTARTS.length, textOf(run));
    assert.ok(published() <= ROWS / ROWS_PER_PIECE + RESTARTS.length, `${published()} publications`);

    assert.equal((await committedKeys(site, `${site.name}_backfill`)).length, ROWS);
    const { rows } = await site.pool.query<Record<string, string | boolean>>(
      `SELECT count(*) AS rows, count(DISTINCT emp_id) AS keys,
              bool_and(name = 'Employee ' || emp_id AND salary = emp_id % 1000 AND is_active AND off_date IS NULL) AS exact
       FROM public.employees`,
    );
    assert.deepEqual(rows[0], { rows: String(ROWS), keys: String(ROWS), exact: true });
  });
});
