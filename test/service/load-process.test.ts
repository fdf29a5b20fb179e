import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import type { Load } from '../../src/ports/load.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { createLoadProcess } from '../../src/service/load-process.ts';

test('once the process has ended nothing listens for the end of the backfill any more', async () => {
  // No configuration at all: it fails as soon as it reads it.
  const config = { tables: [] } as unknown as Config;
  const load = { id: 'load-1', name: 'employees' } as Load;
  const loader = createLoadProcess({ config, table: 'employees', onRetry: () => {} });
  const { signal } = new AbortController();
  await assert.rejects(loader.run(load, () => {}, signal));
  assert.deepEqual(getEventListeners(signal, 'abort'), []);
});
