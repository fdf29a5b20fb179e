import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { startStack, stopStack } from '../../src/stack/stack.ts';
import { employeeChange, openRecords } from '../support/records.ts';
import { QUICK, startService } from '../support/service.ts';
import { openSite } from '../support/site.ts';
import { testStack } from '../support/stack.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

describe('a registry that lost its data', () => {
  const later = undoing();

  it('stops the service with the remedy, which goes on by itself once the data is restored', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'deltaferry-wiped-'));
    chmodSync(dir, 0o755);
    const start = async () =>
      (await startStack({ dir, parts: ['registry'], ownerPid: process.pid })).registry;
    const stop = () => stopStack({ dir });
    later(dir, async () => {
      await stopStack({ dir, wipe: true });
      rmSync(dir, { recursive: true, force: true });
    });
    const endpoints = { ...testStack(), registry: await start() };
    const site = later(
      await openSite({ prefix: 'wiped', partitions: 1, settings: QUICK, endpoints }),
      (made) => made.drop(),
    );
    const records = later(await openRecords(site), (made) => made.close());
    const service = () => startService(site.config, { roles: ['postgres-history'] });
    const applied = async (ids: readonly number[]): Promise<void> => {
      await until('all to be applied', async () => (await records.backlog()) === 0n);
      assert.deepEqual((await records.history()).map(({ id }) => id).sort(), ids);
    };

    let running = await service();
    await records.produce([records.of(employeeChange(1))]);
    await applied([1]);
    await running.stop();

    const data = join(dir, 'registry');
    await stop();
    renameSync(data, `${data}.kept`);
    await start();
    running = later(await service(), (made) => made.stop());
    await records.produce([records.of(employeeChange(2))]);
    const part = await until('readiness to tell it', async () => {
      const found = (await running.readyz()).parts[`postgres-history/${site.name}/0`];
      return found?.state === 'stopped' && found;
    });
    assert.equal(part.code, 'REGISTRY_WIPED');
    assert.match(part.remedy ?? '', /restore the registry with its old schema ids/);
    assert.ok((await records.backlog()) > 0n);

    await stop();
    rmSync(data, { recursive: true });
    renameSync(`${data}.kept`, data);
    await start();
    await applied([1, 2]);
    assert.deepEqual(await records.deadLetters(), []);
  });
});
