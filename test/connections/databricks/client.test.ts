import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { DBSQLClient } from '@databricks/sql';
import { openDatabricks } from '../../../src/connections/databricks/client.ts';

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
