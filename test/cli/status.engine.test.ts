import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { before, describe, it } from 'node:test';
import type { Status, TableStatus } from '../../src/service/status.ts';
import { QUICK, startService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { deltaferry } from './spawned.ts';

const IN_DELTA = 30;
const IN_POSTGRES = 5;

describe('deltaferry status', () => {
  const later = undoing();
  let site: Site;

  before(async () => {
    site = later(await openSite({ prefix: 'status', direction: 'both', settings: QUICK }), (made) =>
      made.drop(),
    );
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, 'Ann', CAST(id AS DECIMAL(12,2)) FROM range(${IN_DELTA})`,
    });
    await site.pool.query(
      `INSERT INTO public.employees SELECT 1000 + n, 'Bea', 1, true, now(), NULL FROM generate_series(1, ${IN_POSTGRES}) n`,
    );
  });

  async function status(
    ...args: string[]
  ): Promise<{ code: number | null; found: Status; table: TableStatus }> {
    const { code, stdout, stderr } = await deltaferry(
      ['status', '--config', site.configFile, '--json', ...args],
      dirname(site.configFile),
    );
    assert.match(stdout, /^\{/, stderr);
    const found = JSON.parse(stdout) as Status;
    return { code, found, table: found.tables[0]! };
  }

  it('says what is to do where nobody runs yet', { timeout: 60_000 }, async () => {
    const { code, table, found } = await status();
    assert.deepEqual(found.problems, []);
    assert.equal(code, 0);
    const { 'delta-feed': feed, 'postgres-log': log, 'postgres-history': history } = table.roles;
    assert.deepEqual(feed, { running: false, version: null, latest: 1 });
    assert.ok((log?.bytes ?? 0) > 0 && (log?.partitions ?? 0) > 1);
    assert.deepEqual([log?.running, log?.unpublished, log?.atLeast], [false, IN_POSTGRES, false]);
    assert.deepEqual([history?.lag, history?.movedAt], [{ records: 0, exact: true }, null]);
    assert.equal(table.load, null);
  });

  it(
    'counts what lies before the sinks, and what the producers have done',
    { timeout: 120_000 },
    async () => {
      const service = later(
        await startService(site.config, { roles: ['delta-feed', 'postgres-log'] }),
        (made) => made.stop(),
      );
      const behind = { records: IN_DELTA + IN_POSTGRES, exact: true };
      const { table } = await until(
        'everything to be published',
        async () => {
          const answer = await status('--no-delta');
          const lag = answer.table.roles['postgres-history']?.lag;
          return lag?.records === behind.records ? answer : null;
        },
        { timeoutMs: 60_000 },
      );
      assert.deepEqual(table.roles['delta-feed'], { running: true, version: 1, latest: null });
      assert.equal(table.roles['postgres-log']?.unpublished, 0);
      assert.deepEqual(table.roles['delta-merge']?.lag, behind);
      await service.stop();

      const sinks = later(await startService(site.config), (made) => made.stop());
      await until(
        'the sinks to be done',
        async () => {
          const { roles } = (await status('--no-delta')).table;
          return [roles['postgres-history'], roles['delta-merge']].every((sink) => sink?.lag?.records === 0);
        },
        { timeoutMs: 60_000 },
      );
      await sinks.stop();
    },
  );

  it('says who does not answer, and tells the rest', { timeout: 60_000 }, async () => {
    const { code, found, table } = await status('--set', 'kafka.brokers=127.0.0.1:1');
    assert.equal(code, 1);
    assert.deepEqual([...new Set(found.problems.map(({ system }) => system))], ['kafka']);
    assert.ok(found.problems.every(({ message, remedy }) => message !== '' && remedy !== ''));
    assert.equal(table.roles['delta-feed'], null);
    assert.equal(table.roles['postgres-history']?.lag, null);
    assert.match(table.roles['postgres-history']?.movedAt ?? '', /^\d{4}-/);
    assert.ok((table.roles['postgres-log']?.bytes ?? 0) > 0);
  });
});
