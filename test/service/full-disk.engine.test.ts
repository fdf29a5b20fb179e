import assert from 'node:assert/strict';
import { existsSync, rmSync, symlinkSync } from 'node:fs';
import { describe, it } from 'node:test';
import { startOwnPostgres } from '../support/own-postgres.ts';
import { employeeChange, openRecords } from '../support/records.ts';
import { QUICK, startService } from '../support/service.ts';
import { openSite } from '../support/site.ts';
import { testStack } from '../support/stack.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

/** Whatever is written to it, Linux says that there is no space left. */
const FULL = '/dev/full';

describe('a full disk under Postgres', { skip: !existsSync(FULL) && `there is no ${FULL}` }, () => {
  const later = undoing();

  it('stops the service with the remedy, which goes on by itself once there is room', async () => {
    const { postgres } = later(await startOwnPostgres(), (made) => made.stop());
    const endpoints = { ...testStack(), postgres };
    const site = later(
      await openSite({ prefix: 'full', partitions: 1, settings: QUICK, endpoints }),
      (made) => made.drop(),
    );
    const records = later(await openRecords(site), (made) => made.close());

    const person = await site.pool.connect();
    await person.query('BEGIN; TRUNCATE public.employees');
    const { rows } = await person.query<{ file: string }>(
      `SELECT current_setting('data_directory') || '/' || pg_relation_filepath('public.employees') AS file`,
    );
    // What is to be done to the new file has been done; and nobody else has opened it yet.
    await person.query('CHECKPOINT');
    rmSync(rows[0]!.file);
    symlinkSync(FULL, rows[0]!.file);
    await person.query('COMMIT');
    person.release(true);

    const service = later(await startService(site.config, { roles: ['postgres-history'] }), (made) =>
      made.stop(),
    );
    await records.produce([records.of(employeeChange(1))]);
    const part = await until('readiness to tell it', async () => {
      const found = (await service.readyz()).parts[`postgres-history/${site.name}/0`];
      return found?.state === 'stopped' && found;
    });
    assert.equal(part.code, 'POSTGRES_53100');
    assert.match(part.remedy ?? '', /Free disk space/);
    assert.ok((await records.backlog()) > 0n);

    // Its next file is elsewhere.
    await site.pool.query('TRUNCATE public.employees');
    await until('the change to be applied', async () => (await records.backlog()) === 0n);
    assert.deepEqual(
      (await records.history()).map(({ id }) => id),
      [1],
    );
    assert.deepEqual(await records.deadLetters(), []);
  });
});
