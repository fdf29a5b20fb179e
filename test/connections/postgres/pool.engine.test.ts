import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg, { type Pool } from 'pg';
import { copyLines } from '../../../src/connections/postgres/copy-text.ts';
import { translatePostgres } from '../../../src/connections/postgres/errors.ts';
import { openLockSession } from '../../../src/connections/postgres/leadership.ts';
import { connectionConfig, openPool } from '../../../src/connections/postgres/pool.ts';
import { inTransaction } from '../../../src/connections/postgres/transaction.ts';
import { describeError, TransientError, UsageError } from '../../../src/errors.ts';
import { startProxy } from '../../support/proxy.ts';
import { createDatabase, urlWith, type TestDatabase } from './database.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
});
after(async () => await database.drop());

test('what JavaScript would round stays text', async () => {
  const rows = await database.pool.query(`
    SELECT 9007199254740993::int8 AS big, 0.10::numeric(12,2) AS money, '2025-01-01 12:00:00.123456+02'::timestamptz AS at,
           '2025-01-01 12:00:00.123456'::timestamp AS local, date '0001-01-01' AS day, '{"a": 1.0}'::jsonb AS doc,
           'infinity'::timestamptz AS never, true AS yes, 7::int4 AS small, ARRAY[1,2] AS list, '\\x00ff'::bytea AS raw`);
  assert.deepEqual(
    { ...rows.rows[0] },
    {
      big: '9007199254740993',
      money: '0.10',
      at: '2025-01-01 10:00:00.123456+00',
      local: '2025-01-01 12:00:00.123456',
      day: '0001-01-01',
      doc: '{"a": 1.0}',
      never: 'infinity',
      yes: true,
      small: 7,
      list: [1, 2],
      raw: Buffer.from([0, 255]),
    },
  );
});

test('text forms do not depend on the settings of role or database', async () => {
  const name = new URL(database.url).pathname.slice(1);
  await database.pool.query(
    `ALTER DATABASE ${name} SET DateStyle = 'German, DMY'; ALTER DATABASE ${name} SET TimeZone = 'Asia/Tokyo'; ALTER DATABASE ${name} SET bytea_output = 'escape'`,
  );
  await withPool(database.url, async (pool) => {
    const rows = await pool.query<{ at: string; raw: Buffer }>(
      `SELECT '2025-12-31 23:00:00+00'::timestamptz AS at, '\\x00'::bytea AS raw`,
    );
    assert.deepEqual({ ...rows.rows[0] }, { at: '2025-12-31 23:00:00+00', raw: Buffer.from([0]) });
  });
});

test('the timeouts, the name and the limits reach the server', async () => {
  await withPool(database.url, async (pool) => {
    const rows = await pool.query(
      `SELECT current_setting('lock_timeout') AS lock, current_setting('statement_timeout') AS statement, current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('application_name') AS name`,
    );
    assert.deepEqual(rows.rows, [{ lock: '3s', statement: '1min', idle: '15s', name: 'deltaferry' }]);
  });
});

test('settings in the URL stand beside ours and replace none of them', async () => {
  const url = new URL(database.url);
  url.search = new URLSearchParams({
    options: '-c search_path=hr -c TimeZone=Asia/Tokyo -c idle_session_timeout=0',
    lock_timeout: '0',
    statement_timeout: '0',
    idle_in_transaction_session_timeout: '0',
    query_timeout: '1',
  }).toString();
  const SETTINGS = `
    SELECT name, setting FROM pg_settings WHERE name = ANY
      ('{search_path,TimeZone,lock_timeout,statement_timeout,idle_in_transaction_session_timeout,idle_session_timeout,tcp_user_timeout}')`;
  const ours = {
    search_path: 'hr',
    TimeZone: 'UTC',
    lock_timeout: '3000',
    statement_timeout: '60000',
    idle_in_transaction_session_timeout: '15000',
  };
  const settings = async (on: Pool | pg.Client): Promise<unknown> => {
    const { rows } = await on.query<{ name: string; setting: string }>(SETTINGS);
    return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  };
  await withPool(url.href, async (pool) =>
    assert.deepEqual(await settings(pool), {
      ...ours,
      idle_session_timeout: '0',
      tcp_user_timeout: '0',
    }),
  );
  // A leader that is cut off must lose its lease whatever the URL says.
  const lease = openLockSession({ url: url.href }, { deadlineMs: 1_500, silentMs: 4_000 });
  await lease.client.connect();
  try {
    assert.deepEqual(await settings(lease.client), {
      ...ours,
      idle_session_timeout: '4000',
      tcp_user_timeout: '3000',
    });
  } finally {
    await lease.end();
  }
});

test('a transaction that stands still loses its locks, and whoever held it is told to try again', async () => {
  await database.pool.query(
    'CREATE TABLE waited_for (id int PRIMARY KEY); INSERT INTO waited_for VALUES (1)',
  );
  const pool = openPool({ url: database.url, maxConnections: 1, idleInTransactionMs: 300 });
  try {
    const frozen = await pool.connect();
    await frozen.query('BEGIN');
    await frozen.query('UPDATE waited_for SET id = 2');
    // Within lock_timeout, else this fails.
    const taken = await database.pool.query('UPDATE waited_for SET id = 3 WHERE id = 1');
    assert.equal(taken.rowCount, 1);
    const error = await frozen
      .query('COMMIT')
      .then(() => null)
      .catch((reason: unknown) => translatePostgres(reason, 'applying changes'));
    frozen.release(true);
    assert.ok(error instanceof TransientError, describeError(error));
    assert.equal((await pool.query('SELECT 1')).rowCount, 1);
  } finally {
    await pool.end();
  }
});

test('no failure tells the password', async () => {
  const secret = 'hunter2-geheim';
  for (const url of [
    urlWith(database.url, { user: 'nobody_such', password: secret }),
    urlWith(database.url, { port: 1, password: secret }),
    urlWith(database.url, { host: 'no-such-host.invalid', password: secret }),
  ])
    await withPool(url, async (pool) => {
      const error = await pool
        .query('SELECT 1')
        .catch((reason: unknown) => translatePostgres(reason, 'connecting'));
      assert.ok(error instanceof Error);
      assert.doesNotMatch(`${describeError(error)} ${error.stack} ${JSON.stringify(error)}`, /geheim/);
    });
  for (const url of [`postgres://me:${secret}@[::bad/x`, `mysql://me:${secret}@host/x`, secret])
    assert.throws(
      () => openPool({ url }),
      (error) =>
        error instanceof UsageError &&
        !/geheim/.test(`${error.message} ${JSON.stringify(error)} ${error.stack}`),
    );
});

test('TLS options win over what the URL says', async () => {
  await withPool(`${database.url}?sslmode=disable`, async (pool) => {
    assert.equal((await pool.query('SELECT 1')).rowCount, 1);
  });
  const pool = openPool({ url: `${database.url}?sslmode=disable`, tls: { rejectUnauthorized: false } });
  try {
    // The test server has no TLS: asking for it must fail rather than go on in clear text.
    const error = await pool
      .query('SELECT 1')
      .catch((reason: unknown) => translatePostgres(reason, 'connecting'));
    assert.equal((error as { kind?: string }).kind, 'operator');
  } finally {
    await pool.end();
  }
});

test('a connection that the server closes is replaced in silence', async () => {
  await withPool(database.url, async (pool) => {
    const mine = await pool.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    await database.pool.query('SELECT pg_terminate_backend($1, 5000)', [mine.rows[0]?.pid]);
    // The first query may still meet the dead connection; the one after it has a new one.
    await pool.query('SELECT 1').catch(() => {});
    assert.equal((await pool.query('SELECT 1')).rowCount, 1);
  });
});

test('a server that falls silent in the midst of a COPY fails it, and nothing else', async () => {
  const { hostname, port } = new URL(database.url);
  const proxy = await startProxy({ host: hostname, port: Number(port) });
  await database.pool.query('CREATE TABLE copied (id int)');
  const url = urlWith(database.url, { host: '127.0.0.1', port: proxy.port });
  const pool = new pg.Pool({ ...connectionConfig({ url }), query_timeout: 300 });
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  try {
    const gone = Promise.withResolvers<void>();
    const copying = inTransaction(pool, { doing: 'copying' }, async (client) => {
      client.once('end', gone.resolve);
      await client.query('SELECT 1');
      proxy.hang(true);
      return await copyLines(client, 'COPY copied FROM STDIN', ['1\n', '2\n']);
    });
    await assert.rejects(copying, TransientError);
    // The connection is given up after that: what it says then must not end the process.
    await gone.promise;
    proxy.hang(false);
    assert.equal((await pool.query('SELECT FROM copied')).rowCount, 0);
  } finally {
    await pool.end();
    await proxy.close();
  }
});

async function withPool(url: string, run: (pool: Pool) => Promise<void>): Promise<void> {
  const pool = openPool({ url, maxConnections: 1 });
  try {
    await run(pool);
  } finally {
    await pool.end();
  }
}
