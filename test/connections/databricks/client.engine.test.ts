import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { DBSQLClient } from '@databricks/sql';
import {
  openDatabricks,
  type Databricks,
  type DatabricksOptions,
} from '../../../src/connections/databricks/client.ts';
import { testStack } from '../../support/stack.ts';
import { until } from '../../support/until.ts';
import { openSilentProxy, type SilentProxy } from './silent-proxy.ts';

const one = { sql: 'SELECT 1 AS one', doing: 'asking for one' };
/** Takes ten seconds, of which the engine sleeps all. */
const slow = { sql: "SELECT java_method('java.lang.Thread', 'sleep', 10000L) AS line", doing: 'sleeping' };

const endpoint = testStack().databricks;
let proxy: SilentProxy;
let clients: Databricks[];
before(async () => {
  proxy = await openSilentProxy(endpoint.host, endpoint.port);
});
after(() => proxy.close());
beforeEach(() => {
  clients = [];
});
afterEach(async () => {
  proxy.silence(false);
  proxy.cut();
  for (const client of clients) await client.close();
});

function open(options: Partial<DatabricksOptions> = {}): Databricks {
  const client = openDatabricks({ ...endpoint, port: proxy.port, ...options });
  clients.push(client);
  return client;
}

/** It works again, at the second or third attempt too: a busy machine is slow. */
async function answers(client: Databricks): Promise<void> {
  await until('the client answers', async () => (await client.query(one)).length === 1, {
    timeoutMs: 60_000,
  });
}

describe('the Databricks client', () => {
  it('gives exact values and takes parameters, never as SQL', async () => {
    const [row] = await open().query({
      sql: "SELECT :big AS big, :text AS text, :none AS none, :flag AS flag, cast('12345678901234567890.12' AS decimal(38,2)) AS dec, current_timezone() AS zone",
      params: { big: 9_007_199_254_740_993n, text: "it's `x` -- ", none: null, flag: true },
      doing: 'selecting',
    });
    assert.deepEqual(
      { ...row },
      {
        big: 9_007_199_254_740_993n,
        text: "it's `x` -- ",
        none: null,
        flag: true,
        dec: '12345678901234567890.12',
        zone: 'UTC',
      },
    );
  });

  it('streams a large result in chunks', async () => {
    let count = 0;
    for await (const chunk of open().stream({
      sql: 'SELECT cast(id AS string) AS line FROM range(50000)',
      doing: 'streaming',
    }))
      count += chunk.length;
    assert.equal(count, 50_000);
  });

  it('two statements at once do not disturb each other', async () => {
    const client = open();
    const answers = await Promise.all(
      Array.from({ length: 5 }, (_, n) =>
        client.query({ sql: 'SELECT :n AS n', params: { n }, doing: 'selecting' }),
      ),
    );
    assert.deepEqual(
      answers.map(([row]) => row?.['n']),
      [0n, 1n, 2n, 3n, 4n],
    );
  });

  it('an abort cancels the statement at once', async () => {
    const client = open();
    await client.query(one);
    const stop = new AbortController();
    const sleeping = client.query({ ...slow, signal: stop.signal });
    stop.abort(new Error('enough'));
    await assert.rejects(sleeping, /enough/);
    assert.equal((await client.query(one)).length, 1);
  });

  it('a statement that takes too long is given up, and the next one works', async () => {
    const client = open({ queryTimeoutMs: 3_000 });
    await client.query(one);
    await assert.rejects(client.query(slow), { code: 'DATABRICKS_TIMEOUT', kind: 'transient' });
    await answers(client);
  });

  it('a warehouse that hangs is noticed, and used again when it answers', async () => {
    const client = open({ queryTimeoutMs: 2_000, requestTimeoutMs: 2_000 });
    await answers(client);
    proxy.silence(true);
    await assert.rejects(client.query(one), { kind: 'transient' });
    await assert.rejects(client.query(one), { kind: 'transient' });
    proxy.silence(false);
    await answers(client);
  });

  it('a warehouse that hangs before there is a session does not use up the time of a long statement', async () => {
    proxy.silence(true);
    const client = open({ queryTimeoutMs: 500 });
    await assert.rejects(client.query({ ...one, timeoutMs: 3_600_000 }), {
      code: 'DATABRICKS_TIMEOUT',
      message: /opening a session: no answer within 0.5 s/,
    });
  });

  it('a broken connection and a refused one are transient, and end with the cause', async () => {
    const client = open();
    await client.query(one);
    proxy.cut(true);
    await assert.rejects(client.query(one), { code: 'DATABRICKS_UNAVAILABLE', kind: 'transient' });
    proxy.cut();
    await answers(client);
    await assert.rejects(open({ port: 1 }).query(one), {
      code: 'DATABRICKS_UNAVAILABLE',
      message: /ECONNREFUSED/,
    });
  });

  it('a session that the server has forgotten is opened anew', async (context) => {
    const opened: { backend: { close(): Promise<unknown> } }[] = [];
    const openSession = DBSQLClient.prototype.openSession;
    context.mock.method(DBSQLClient.prototype, 'openSession', async function (this: DBSQLClient) {
      const session = await openSession.call(this);
      opened.push(session as unknown as (typeof opened)[number]);
      return session;
    });
    const client = open();
    await client.query(one);
    // Behind the driver's back, as when it expires.
    await opened[0]?.backend.close();
    assert.equal((await client.query(one)).length, 1);
    assert.equal(opened.length, 2);
  });

  it('a wrong token and an untrusted certificate are for a person; the token is not told', async () => {
    const token = 'dapi-not-this-one';
    await assert.rejects(open({ token }).query(one), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'DATABRICKS_LOGIN');
      assert.doesNotMatch(JSON.stringify([error.message, error.stack, String(error.cause)]), /not-this-one/);
      return true;
    });
    await assert.rejects(open({ caFile: undefined }).query(one), {
      code: 'DATABRICKS_TLS',
      kind: 'operator',
    });
    const dir = await mkdtemp(join(tmpdir(), 'deltaferry-ca-'));
    const caFile = join(dir, 'ca.pem');
    await writeFile(caFile, 'not a certificate');
    await assert.rejects(open({ caFile }).query(one), { kind: 'operator', code: 'DATABRICKS_TLS' });
    await assert.rejects(open({ caFile: join(dir, 'none.pem') }).query(one), {
      kind: 'operator',
      message: /none\.pem/,
    });
    await rm(dir, { recursive: true });
  });

  it('a closed client says so', async () => {
    const client = open();
    await client.query(one);
    await client.close();
    await assert.rejects(client.query(one), { code: 'DATABRICKS_CLOSED' });
  });
});
