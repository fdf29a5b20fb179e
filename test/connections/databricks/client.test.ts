import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { DBSQLClient } from '@databricks/sql';
import { openDatabricks } from '../../../src/connections/databricks/client.ts';
import { until } from '../../support/until.ts';

/** What a statement of a session answers, by its SQL; without one it is empty. */
type Answers = Readonly<Record<string, () => Promise<object[]>>>;

/** Sessions of no server, in the order in which they are opened. */
function sessionsOf(context: TestContext, ...answers: readonly Answers[]): { closed: boolean }[] {
  const opened: { closed: boolean }[] = [];
  const mock = context.mock.method.bind(context.mock);
  mock(DBSQLClient.prototype, 'connect', async function (this: DBSQLClient) {
    return this;
  });
  mock(DBSQLClient.prototype, 'openSession', async () => {
    const session = { closed: false };
    const mine = answers[opened.push(session) - 1];
    return {
      executeStatement: async (sql: string) => ({
        fetchChunk: async () => (await mine?.[sql]?.()) ?? [],
        hasMoreRows: async () => false,
        cancel: async () => {},
        close: async () => {},
      }),
      close: async () => (session.closed = true),
    };
  });
  return opened;
}

describe('a session that cannot be set up', () => {
  it('is closed, and the next statement has another', async (context) => {
    const opened = sessionsOf(
      context,
      { "SET TIME ZONE 'UTC'": () => Promise.reject(new Error('no')) },
      { again: async () => [{ ok: true }] },
    );
    const client = openDatabricks({ host: 'nowhere.invalid', path: '/', token: 't' });
    await assert.rejects(client.query({ sql: 'first', doing: 'asking' }));
    assert.deepEqual(await client.query({ sql: 'again', doing: 'asking' }), [{ ok: true }]);
    assert.deepEqual(opened, [{ closed: true }, { closed: false }]);
    await client.close();
  });
});

describe('a session that the warehouse has forgotten', () => {
  it('is given up by all who used it, and the new one by none of them', async (context) => {
    const [forgotten, late] = [Promise.withResolvers<object[]>(), Promise.withResolvers<object[]>()];
    const opened = sessionsOf(
      context,
      { first: () => forgotten.promise, second: () => late.promise },
      { again: async () => [{ ok: true }] },
    );
    const client = openDatabricks({ host: 'nowhere.invalid', path: '/', token: 't' });
    const [first, second] = ['first', 'second'].map((sql) =>
      assert.rejects(client.query({ sql, doing: 'asking' }), { code: 'DATABRICKS_SESSION_LOST' }),
    );
    forgotten.reject(new Error('Invalid SessionHandle'));
    await first;
    assert.deepEqual(await client.query({ sql: 'again', doing: 'asking' }), [{ ok: true }]);
    late.reject(new Error('Invalid SessionHandle'));
    await second;
    await client.query({ sql: 'again', doing: 'asking' });
    assert.deepEqual(opened, [{ closed: true }, { closed: false }]);
    await client.close();
    assert.equal(opened[1]?.closed, true);
  });
});

describe('closing while a session is being opened', () => {
  it('does not wait for a warehouse that takes the connection and stays silent', async (context) => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket.on('error', () => {}));
    }).listen(0, '127.0.0.1');
    context.after(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = openDatabricks({ host: '127.0.0.1', port, path: '/', token: 't', queryTimeoutMs: 30_000 });
    const stop = new AbortController();
    const asked = assert.rejects(client.query({ sql: 'SELECT 1', doing: 'asking', signal: stop.signal }));
    await once(server, 'connection');
    stop.abort(new Error('stopping'));
    await asked;
    const start = performance.now();
    await client.close();
    // The drain, of which this is the end, has 25 s in all.
    assert.ok(performance.now() - start < 5_000);
  });

  it('closes the session when it comes', async (context) => {
    const zone = Promise.withResolvers<object[]>();
    const opened = sessionsOf(context, { "SET TIME ZONE 'UTC'": () => zone.promise });
    const client = openDatabricks({ host: 'nowhere.invalid', path: '/', token: 't' });
    const stop = new AbortController();
    const asked = assert.rejects(client.query({ sql: 'first', doing: 'asking', signal: stop.signal }));
    await until('the session to be opened', () => opened.length === 1);
    stop.abort(new Error('stopping'));
    await asked;
    await client.close();
    assert.deepEqual(opened, [{ closed: false }]);
    zone.resolve([]);
    await until('the session to be closed', () => opened[0]?.closed);
  });
});
