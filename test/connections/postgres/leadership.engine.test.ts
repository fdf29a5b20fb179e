import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { createLeadership } from '../../../src/connections/postgres/leadership.ts';
import { TransientError } from '../../../src/errors.ts';
import { createDatabase, urlWith, type TestDatabase } from './database.ts';
import { openProxy } from './proxy.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
});
after(async () => await database.drop());

const patient = new AbortController().signal;
/** What DESIGN.md promises a standby. */
const TAKEOVER_MS = 5_000;

test('one holder per name; the next takes over on release', async () => {
  const leadership = createLeadership({ url: database.url, pollMs: 20 });
  const first = await leadership.acquire('employees', patient);
  const other = await leadership.acquire('another table', patient);
  let taken = false;
  const second = leadership.acquire('employees', patient).then((lease) => {
    taken = true;
    return lease;
  });
  await leadership.acquire('employees', AbortSignal.timeout(200)).catch(() => {});
  assert.equal(taken, false);
  await first.release();
  await (await second).release();
  await other.release();
  assert.equal(first.lost.aborted, false);
});

test('waiting ends with the signal, with its reason, and leaves no connection', async () => {
  const leadership = createLeadership({ url: database.url, pollMs: 20 });
  const holder = await leadership.acquire('patience', patient);
  const stop = new AbortController();
  const waiting = leadership.acquire('patience', stop.signal);
  const reason = new Error('enough');
  stop.abort(reason);
  await assert.rejects(waiting, reason);
  await assert.rejects(leadership.acquire('patience', stop.signal), reason);
  await holder.release();
});

test('a leader whose session is killed knows it, and the standby takes over', async () => {
  const leadership = createLeadership({ url: database.url, applicationName: 'leader', pollMs: 50 });
  const leader = await leadership.acquire('killed', patient);
  const standby = createLeadership({ url: database.url, pollMs: 50 }).acquire('killed', patient);
  const lost = once(leader.lost, 'abort');
  const start = performance.now();
  await database.pool.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'leader'`,
  );
  await lost;
  assert.ok(leader.lost.reason instanceof TransientError);
  assert.equal(leader.lost.reason.code, 'LEASE_LOST');
  const lease = await standby;
  assert.ok(performance.now() - start < TAKEOVER_MS);
  await lease.release();
  await leader.release();
});

test('a leader that is cut off without a word knows it within seconds', async () => {
  const proxy = await openProxy(database.url);
  try {
    const leader = await createLeadership({ url: proxy.url, heartbeatMs: 100, deadlineMs: 300 }).acquire(
      'cut',
      patient,
    );
    const lost = once(leader.lost, 'abort');
    proxy.freeze();
    await lost;
    assert.equal(leader.lost.reason.code, 'LEASE_LOST');
    await leader.release();
  } finally {
    await proxy.close();
  }
});

test('the server is asked to look after the leader, so that a cut-off one loses the lock', async () => {
  const proxy = await openProxy(database.url);
  try {
    const leader = await createLeadership({ url: proxy.url }).acquire('watched', patient);
    for (const setting of ['tcp_keepalives_idle=1', 'tcp_keepalives_interval=1', 'tcp_keepalives_count=2'])
      assert.ok(proxy.greetings().includes(setting), setting);
    await leader.release();
  } finally {
    await proxy.close();
  }
});

test('a server that is not there is transient: the caller tries again', async () => {
  const leadership = createLeadership({ url: urlWith(database.url, { port: 1 }) });
  await assert.rejects(leadership.acquire('nowhere', patient), TransientError);
});
