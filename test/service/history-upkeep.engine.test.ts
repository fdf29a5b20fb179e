import assert from 'node:assert/strict';
import { afterEach, before, describe, it } from 'node:test';
import { employeeChange, openRecords, type Records } from '../support/records.ts';
import { QUICK, startService, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

const ROLES = { roles: ['postgres-history'] } as const;
/** Twice the retention of the topic. */
const KEPT_DAYS = 14;

describe('a service whose history remembers deletes', () => {
  const later = undoing();
  let site: Site;
  let records: Records;
  let service: RunningService | undefined;

  before(async () => {
    site = later(await openSite({ prefix: 'upkeep', partitions: 1, settings: QUICK }), (made) => made.drop());
    records = later(await openRecords(site), (made) => made.close());
  });
  afterEach(() => service?.stop());

  const remember = (key: string, days: number) =>
    site.pool.query(
      `INSERT INTO deltaferry.orphan_deletes (target, key, ts, recorded_at)
       VALUES ('public.employees', $1, now(), now() - $2 * interval '1 day')`,
      [key, days],
    );
  const remembered = async (): Promise<string[]> => {
    const { rows } = await site.pool.query<{ key: string }>('SELECT key FROM deltaferry.orphan_deletes');
    return rows.map(({ key }) => key);
  };

  it('forgets those that are older than twice what its topic keeps', async () => {
    await remember('old', KEPT_DAYS + 1);
    await remember('young', KEPT_DAYS - 1);
    service = await startService(site.config, ROLES);
    await until('one to be forgotten', async () => (await remembered()).length === 1);
    assert.deepEqual(await remembered(), ['young']);
  });

  it('goes on applying where it cannot forget any, and says so', async () => {
    await remember('older', KEPT_DAYS + 1);
    await site.pool.query(
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '53100'; END $$;
       CREATE TRIGGER refuse BEFORE DELETE ON deltaferry.orphan_deletes EXECUTE FUNCTION refuse()`,
    );
    const running = await startService(site.config, ROLES);
    service = running;
    const warning = await until(
      'a warning',
      () => running.lines.find(({ msg }) => msg.startsWith('forgetting deletes')),
      { timeoutMs: 30_000 },
    );
    assert.equal(warning.level, 40);
    assert.match(JSON.stringify(warning), /refused by the test/);
    await records.produce([records.of(employeeChange(1))]);
    await until('the change to be applied', async () => (await records.backlog()) === 0n);
    const { status, parts } = await running.readyz();
    assert.equal(status, 200, JSON.stringify(parts));
    assert.deepEqual((await remembered()).sort(), ['older', 'young']);
  });
});
