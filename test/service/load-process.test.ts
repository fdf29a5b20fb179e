import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { OperatorError } from '../../src/errors.ts';
import type { Load } from '../../src/ports/load.ts';
import { parseConfig } from '../../src/service/config/load.ts';
import { createLoadProcess } from '../../src/service/load-process.ts';
import { UNSEEN } from '../support/load-seen.ts';
import { inFolder } from './config-cases.ts';

const config = parseConfig({
  kafka: { brokers: ['127.0.0.1:9'] },
  registry: { url: 'http://127.0.0.1:9' },
  postgres: { url: 'postgres://u:pw@127.0.0.1:9/hr' },
  databricks: { host: 'dbc.example.com', path: '/sql/1', token: 't' },
  tables: [{ name: 'employees', key: ['emp_id'], columns: { emp_id: 'bigint', name: 'text' } }],
});

const load: Load = {
  id: 'one',
  name: 'employees',
  target: 'public.employees',
  topic: 'employees_backfill',
  source: 'delta',
  recordsOf: 'one',
  way: 'fill',
  captured: false,
  logPosition: null,
  phase: 'snapshot',
  pinned: { tableId: 'id', version: 1, ts: 1n, rows: 1 },
  startOffsets: [0n],
  endOffsets: null,
  liveOffsets: null,
  publishedRows: 0,
  rejectedRows: 0,
  appliedRows: 0,
  startedAt: '2025-01-01T00:00:00Z',
  error: null,
  seen: UNSEEN,
};

/** As a driver may: a broken connection that none of its callers hears of. */
const DRIVER = `
  import net from 'node:net';
  net.Socket.prototype.connect = function () {
    setImmediate(() => { throw new Error('no login with t0k3n'); });
    return this;
  };`;

test('the loading process tells an error that nobody handles to whoever started it, who hides its secrets', () =>
  inFolder({ 'driver.mjs': DRIVER }, async (dir) => {
    const before = process.env['NODE_OPTIONS'];
    process.env['NODE_OPTIONS'] = `${before ?? ''} --import ${pathToFileURL(join(dir, 'driver.mjs')).href}`;
    try {
      const loader = createLoadProcess({ config, table: 'employees', onRetry: () => {} });
      await assert.rejects(
        loader.run(load, () => {}, AbortSignal.timeout(30_000)),
        (error: unknown) => {
          assert.ok(error instanceof OperatorError, String(error));
          assert.equal(error.code, 'LOAD_PROCESS_ENDED');
          assert.match(error.message, /ended before it was done: no login with t0k3n\.$/);
          return true;
        },
      );
    } finally {
      if (before === undefined) delete process.env['NODE_OPTIONS'];
      else process.env['NODE_OPTIONS'] = before;
    }
  }));

test('once the process has ended nothing listens for the end of the backfill any more', async () => {
  // No configuration at all: it fails as soon as it reads it.
  const loader = createLoadProcess({
    config: { ...config, tables: [] },
    table: 'employees',
    onRetry: () => {},
  });
  const { signal } = new AbortController();
  await assert.rejects(loader.run(load, () => {}, signal));
  assert.deepEqual(getEventListeners(signal, 'abort'), []);
});
