import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { TransientError, type OperatorError } from '../../src/errors.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import type { PostgresLog } from '../../src/ports/postgres-log.ts';
import type { PostgresLogFeedOptions } from '../../src/producers/postgres-log-deps.ts';
import { employee, employees } from './employees.ts';
import { FakeLeadership, FakeTopic, tick, until } from './fake-log.ts';
import { FakePostgresLog } from './fake-postgres-log.ts';
import { withFaults, type Fault } from './faults.ts';
import { fakeClock } from './feed-run.ts';
import { startLogPoller, type LogRun } from './log-run.ts';

let log: FakePostgresLog;
let topic: FakeTopic;
let leadership: FakeLeadership;
let clock: ReturnType<typeof fakeClock>;
let runs: LogRun[];

/** A load from Postgres. */
interface FakeLoad {
  readonly began: string;
  readonly position: string;
  done: boolean;
}

function start(
  options: Partial<PostgresLogFeedOptions> = {},
  ports: { source?: PostgresLog; log?: ChangeLog; loads?: readonly FakeLoad[] } = {},
): LogRun {
  const run = startLogPoller({
    table: 'employees',
    source: ports.source ?? log.source(),
    log: ports.log ?? topic.log(),
    leadership: leadership.port(),
    clock,
    options,
    newestLoad: async () => ports.loads?.at(-1)?.began ?? '',
    loadedTo: async (since) =>
      ports.loads?.findLast(({ began, done }) => done && began > since)?.position ?? null,
  });
  runs.push(run);
  return run;
}

const published = (count: number): Promise<void> =>
  until(() => topic.changes.length >= count, `${count} changes, ${topic.changes.length} so far`);
const polls = async (count: number): Promise<void> => {
  const until_ = clock.slept.length + count;
  await until(() => clock.slept.length >= until_, `${count} polls`);
};
const keys = (): string => topic.changes.map(({ key }) => key).join(' ');
const insertMany = (count: number): void =>
  log.write(...Array.from({ length: count }, (_, n) => [n + 1, employee(n + 1)] as const));

beforeEach(() => {
  log = new FakePostgresLog(employees);
  topic = new FakeTopic();
  leadership = new FakeLeadership();
  clock = fakeClock();
  runs = [];
});
afterEach(async () => {
  for (const run of runs) await run.drain();
});

describe('log poller: what is published', () => {
  it('without a position everything that the log holds, then every transaction once it has ended', async () => {
    log.write([1, employee(1)], [2, employee(2)]);
    const run = start();
    await published(2);
    const open = log.begin();
    open.set(3, employee(3));
    log.write([4, employee(4)]);
    await published(3);
    open.commit();
    await published(4);
    assert.equal(keys(), '1 2 4 3');
    await run.drain();
    assert.deepEqual(topic.position, {
      acknowledged: '703:703:',
      target: null,
      last: '0',
      mark: '7/4',
      proved: '703:703:',
    });
    assert.equal(
      run.published.reduce((sum, { changes }) => sum + changes, 0),
      4,
    );
    assert.equal(run.published.at(-1)?.ts, topic.changes.at(-1)?.ts);
  });

  it('changes and position in one transaction, a window over many of them', async () => {
    insertMany(10);
    start({ maxBatchChanges: 6 });
    await published(10);
    assert.deepEqual(
      topic.transactions.map(({ changes, position }) => [changes.length, position]),
      [
        [6, { acknowledged: '1:1:', target: '701:701:', last: '6', mark: '7/2', proved: '1:1:' }],
        [4, { acknowledged: '701:701:', target: null, last: '0', mark: '7/2', proved: '701:701:' }],
      ],
    );
  });

  it('resumes in the midst of a window, with the end that was chosen when it began', async () => {
    insertMany(9);
    topic.position = { acknowledged: '1:1:', target: '701:701:', last: '6' };
    log.write([20, employee(20)]);
    start();
    await published(4);
    assert.equal(keys(), '7 8 9 20');
    assert.deepEqual(log.windows.slice(0, 2), [
      { from: '1:1:', to: '701:701:', after: 6n },
      { from: '701:701:', to: '702:702:', after: 0n },
    ]);
  });

  it('a lost answer to a transaction publishes nothing twice', async () => {
    insertMany(20);
    let calls = 0;
    const faults: Record<number, Fault> = { 2: 'after', 4: 'before', 6: 'after' };
    const run = start(
      { maxBatchChanges: 3 },
      {
        log: withFaults(topic.log(), (method) =>
          method === 'publish' ? (faults[++calls] ?? 'none') : 'none',
        ),
      },
    );
    await published(20);
    await polls(3);
    assert.equal(keys(), Array.from({ length: 20 }, (_, n) => n + 1).join(' '));
    assert.equal(run.states.filter(({ name }) => name === 'backing-off').length, 3);
  });

  it('no window begins before the one ahead of it is durable', async () => {
    const inner = topic.log();
    const held: (() => void)[] = [];
    let hold = false;
    const slow: ChangeLog = {
      ...inner,
      publish: async (batch) => {
        if (hold) await new Promise<void>((resolve) => held.push(resolve));
        await inner.publish(batch);
      },
    };
    const run = start({}, { log: slow });
    try {
      await until(() => run.facts.length > 0, 'the partitions were looked after, which waits as well');
      hold = true;
      insertMany(2);
      await until(() => held.length > 0, 'it publishes');
      const windows = log.windows.length;
      log.write([9, employee(9)]);
      for (let turn = 0; turn < 50; turn++) await tick();
      assert.equal(log.windows.length, windows);
      held.shift()?.();
      await until(() => held.length > 0, 'it publishes the next');
      assert.equal(log.windows.length, windows + 1);
      hold = false;
      held.shift()?.();
      await published(3);
    } finally {
      hold = false;
      for (const release of held) release();
    }
  });

  it('reads at most one batch ahead of the transaction in hand', async () => {
    insertMany(30);
    log.pageChanges = 1;
    const inner = topic.log();
    let reads = 0;
    let hold = true;
    let release: () => void = () => {};
    const source = log.source();
    const counting: PostgresLog = {
      ...source,
      async *read(window, signal) {
        for await (const page of source.read(window, signal)) {
          reads++;
          yield page;
        }
      },
    };
    start(
      { maxBatchChanges: 3 },
      {
        source: counting,
        log: {
          ...inner,
          publish: async (batch) => {
            if (hold)
              await new Promise<void>((resolve) => {
                release = resolve;
              });
            await inner.publish(batch);
          },
        },
      },
    );
    try {
      for (let turn = 0; turn < 100; turn++) await tick();
      assert.equal(reads, 6);
    } finally {
      hold = false;
      release();
    }
    await published(30);
  });
});

describe('log poller: polling', () => {
  it('milliseconds apart while there is something, up to the longest pause when nothing happens', async () => {
    log.write([1, employee(1)]);
    start();
    await published(1);
    await polls(12);
    const idle = clock.slept.slice(1, 12);
    assert.deepEqual(idle.slice(0, 8), [10, 20, 40, 80, 160, 250, 250, 250]);
    log.write([2, employee(2)]);
    await published(2);
    await polls(2);
    assert.ok(
      clock.slept.slice(-4).some((ms) => ms <= 5),
      clock.slept.join(' '),
    );
  });

  it('an idle database costs no transaction, and no window', async () => {
    log.write([1, employee(1)]);
    start();
    await published(1);
    const windows = log.windows.length;
    await polls(200);
    assert.equal(topic.transactions.length, 1);
    assert.equal(log.windows.length, windows);
  });

  it('windows without a change move the position in memory, which is written before partitions are dropped by it', async () => {
    log.write([1, employee(1)]);
    start({ upkeepMs: 10_000 });
    await published(1);
    const begun = clock.now();
    for (let n = 0; n < 60; n++) {
      log.skipTransaction();
      await polls(1);
    }
    await until(() => clock.now() - begun > 25_000, 'time passes');
    const elapsed = clock.now() - begun;
    assert.ok(
      topic.transactions.length - 1 <= elapsed / 10_000 + 1,
      `${topic.transactions.length} in ${elapsed} ms`,
    );
    assert.deepEqual(topic.position, {
      acknowledged: log.now(),
      target: null,
      last: '0',
      mark: '7/2',
      proved: '701:701:',
    });
    assert.equal(log.acknowledged.at(-1), log.now());
    const durable = new Set(['1:1:', ...topic.transactions.map(({ position }) => position['acknowledged'])]);
    assert.ok(
      log.acknowledged.every((snapshot) => durable.has(snapshot)),
      log.acknowledged.join(' '),
    );
  });

  it('partitions are looked after now and then, less often while it is behind', async () => {
    const run = start({ upkeepMs: 1_000, maxBatchChanges: 3 });
    await polls(40);
    const idle = log.acknowledged.length;
    assert.ok(idle >= 5 && idle <= clock.now() / 1_000 + 1, `${idle} in ${clock.now()} ms`);
    assert.equal(run.facts.at(-1)?.partitions, 5);
    const begun = clock.now();
    while (clock.now() - begun < 3_000) {
      insertMany(9);
      log.write(...Array.from({ length: 9 }, (_, n) => [n + 1, null] as const));
      await polls(1);
    }
    assert.ok(log.acknowledged.length - idle <= 1, `${log.acknowledged.length - idle} while behind`);
  });
});

describe('log poller: its life', () => {
  it('a standby takes over when the leader drains, and while its lease is gone', async () => {
    log.write([1, employee(1)]);
    const first = start();
    await published(1);
    const second = start();
    await polls(3);
    assert.equal(second.state().name, 'standby');
    await first.drain();
    log.write([2, employee(2)]);
    await published(2);
    start();
    leadership.take('postgres-log/employees');
    log.write([3, employee(3)]);
    await published(3);
    assert.equal(keys(), '1 2 3');
  });

  it('a zombie that still believes it leads publishes nothing', async () => {
    insertMany(2);
    const zombie = start();
    await published(2);
    await topic.log().open();
    log.write([3, employee(3)]);
    // The zombie is fenced, goes back to standby, leads again and sends the change once.
    await published(3);
    assert.ok(zombie.states.filter(({ name }) => name === 'standby').length > 1);
    assert.equal(keys(), '1 2 3');
  });

  it('draining does not wait for a database that hangs', async () => {
    log.write([1, employee(1)]);
    const run = start(
      {},
      { source: withFaults(log.source(), (method): Fault => (method === 'snapshot' ? 'hang' : 'none')) },
    );
    await run.reaches('starting');
    await run.drain();
  });

  it('what may succeed next time is tried again, what a person must mend stops it until it is mended', async () => {
    const real = log.source();
    let failing = 2;
    const source: PostgresLog = {
      ...real,
      snapshot: async (acknowledged, mark) => {
        if (failing-- > 0) throw new TransientError({ code: 'TEST', message: 'not now' });
        return real.snapshot(acknowledged, mark);
      },
    };
    const run = start({}, { source });
    log.write([1, employee(1)]);
    await published(1);
    assert.equal(run.states.filter(({ name }) => name === 'backing-off').length, 2);
    await run.drain();
    topic.position = { version: 3 };
    const stopped = start({ stoppedRetryMs: 50 });
    await stopped.reaches('stopped');
    topic.position = null;
    await stopped.reaches('polling');
  });

  it('draining ends the transaction in hand and starts no other', async () => {
    insertMany(30);
    const run = start({ maxBatchChanges: 3 });
    await published(6);
    await run.drain();
    const { length } = topic.transactions;
    assert.ok(topic.changes.length < 30);
    for (let turn = 0; turn < 50; turn++) await tick();
    assert.equal(topic.transactions.length, length);
    start();
    await published(30);
    assert.equal(keys(), Array.from({ length: 30 }, (_, n) => n + 1).join(' '));
  });
});

describe('log poller: another life of the database', () => {
  const stops = async (run: LogRun, code: string): Promise<string> => {
    await run.reaches('stopped');
    const state = run.state();
    const { error } = state as { error: OperatorError };
    assert.equal(error.code, code);
    return error.remedy ?? '';
  };

  it('restored from a copy stops it, however far it has come since, until a load that began after that is done', async () => {
    log.write([1, employee(1)]);
    const loads: FakeLoad[] = [{ began: '2026-01-01', position: log.now(), done: true }];
    const first = start();
    await published(1);
    const copy = log.copy();
    log.write([2, employee(2)]);
    await published(2);
    log.write([3, employee(3)]);
    await published(3);
    await first.drain();
    // As many transactions as were lost, and more.
    for (let n = 11; n <= 14; n++) copy.write([n, employee(n)]);
    const run = start({ stoppedRetryMs: 50 }, { source: copy.source(), loads });
    await stops(run, 'POSTGRES_RESTORED');
    copy.write([15, employee(15)]);
    await polls(5);
    const load = { began: '2026-01-02', position: copy.now(), done: false };
    loads.push(load);
    copy.write([16, employee(16)]);
    await polls(5);
    assert.match(await stops(run, 'POSTGRES_RESTORED'), /deltaferry backfill employees --from postgres/);
    assert.equal(keys(), '1 2 3');
    load.done = true;
    await published(4);
    copy.write([17, employee(17)]);
    await published(5);
    await run.drain();
    copy.write([18, employee(18)]);
    start({}, { source: copy.source(), loads });
    await published(6);
    assert.equal(keys(), '1 2 3 16 17 18');
  });

  it('a standby that has lost what was published stops it, also in the midst of its work', async () => {
    let serving = log;
    const source = served(() => serving);
    log.write([1, employee(1)]);
    const run = start({}, { source });
    await published(1);
    const standby = log.copy();
    log.write([2, employee(2)]);
    await published(2);
    for (let n = 11; n <= 14; n++) standby.write([n, employee(n)]);
    serving = standby;
    await stops(run, 'POSTGRES_RESTORED');
    assert.equal(keys(), '1 2');
  });

  it('a standby that has everything that was published is gone on with, and none of its transactions is passed over', async () => {
    let serving = log;
    const source = served(() => serving);
    log.write([1, employee(1)]);
    const run = start({ upkeepMs: 1_000 }, { source });
    await published(1);
    const standby = log.copy();
    // Transactions elsewhere, which the standby has not received and whose ids it gives out again.
    for (let n = 0; n < 4; n++) log.skipTransaction();
    await until(() => topic.position?.['acknowledged'] === log.now(), 'it has seen them, and says so');
    for (let n = 2; n <= 7; n++) standby.write([n, employee(n)]);
    serving = standby;
    await published(7);
    await run.drain();
    assert.equal(keys(), '1 2 3 4 5 6 7');
    assert.ok(!run.states.some(({ name }) => name === 'stopped'));
  });

  it('a position that is none stops it until a load that began after that is done', async () => {
    log.write([1, employee(1)]);
    topic.position = { version: 3 };
    const loads: FakeLoad[] = [{ began: '2026-01-01', position: log.now(), done: true }];
    const run = start({ stoppedRetryMs: 50 }, { loads });
    assert.match(await stops(run, 'POSITION_UNREADABLE'), /deltaferry backfill employees --from postgres/);
    await polls(5);
    await stops(run, 'POSITION_UNREADABLE');
    loads.push({ began: '2026-01-02', position: log.now(), done: true });
    log.write([2, employee(2)]);
    await published(1);
    assert.equal(keys(), '2');
  });
});

/** One after the other, as an address that follows the primary. */
function served(serving: () => FakePostgresLog): PostgresLog {
  return {
    snapshot: (...args) =>
      serving()
        .source()
        .snapshot(...args),
    mark: () => serving().source().mark(),
    read: (...args) =>
      serving()
        .source()
        .read(...args),
    upkeep: (...args) =>
      serving()
        .source()
        .upkeep(...args),
    close: async () => {},
  };
}
