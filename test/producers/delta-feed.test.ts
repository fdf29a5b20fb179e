import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { OperatorError, PoisonError } from '../../src/errors.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import { SchemaChangedError, type DeltaSource } from '../../src/ports/delta-source.ts';
import type { DeltaFeedOptions } from '../../src/producers/delta-feed-deps.ts';
import { employee, employees } from './employees.ts';
import { FakeDelta, positionAt, timeOf } from './fake-delta.ts';
import { FakeLeadership, FakeTopic, tick, until } from './fake-log.ts';
import { withFaults, type Fault } from './faults.ts';
import { fakeClock, startFeed, type FeedRun } from './feed-run.ts';

let table: FakeDelta;
let topic: FakeTopic;
let leadership: FakeLeadership;
let runs: FeedRun[];

function start(
  options: Partial<DeltaFeedOptions> = {},
  ports: { source?: DeltaSource; log?: ChangeLog } = {},
): FeedRun {
  const run = startFeed({
    mapping: employees,
    source: ports.source ?? table.source(),
    log: ports.log ?? topic.log(),
    leadership: leadership.port(),
    options,
  });
  runs.push(run);
  return run;
}

const upTo = (version: number): Promise<void> =>
  until(
    () => topic.position?.['version'] === version,
    `version ${version} is published, at ${JSON.stringify(topic.position)}`,
  );

/** `2 update 1 Ann→Bob` per record of the topic. */
const records = (): string[] =>
  topic.changes.map(
    ({ position, op, key, before, after }) =>
      `${position} ${op} ${key} ${String(before?.[1] ?? '')}→${String(after?.[1] ?? '')}`,
  );

beforeEach(() => {
  table = new FakeDelta(employees);
  topic = new FakeTopic();
  leadership = new FakeLeadership();
  runs = [];
});
afterEach(async () => {
  for (const run of runs) await run.drain();
});

describe('delta feed: what is published', () => {
  it('the whole table from version 0, then every commit as it comes', async () => {
    table.insert(employee(1, 'Ann'), employee(2, 'Bob'));
    const run = start();
    await upTo(1);
    table.update((row) => (row[0] === 1 ? employee(1, 'Anna') : null));
    table.delete((row) => row[0] === 2);
    await upTo(3);
    assert.deepEqual(records(), [
      '1 insert 1 →Ann',
      '1 insert 2 →Bob',
      '2 update 1 Ann→Anna',
      '3 delete 2 Bob→',
    ]);
    assert.equal(topic.changes[2]?.ts, timeOf(2));
    assert.deepEqual(topic.position, positionAt(3, 0));
    assert.equal(run.state().name, 'polling');
    assert.equal(run.polled.at(-1), 3);
    assert.deepEqual(run.published.at(-1)?.ts, timeOf(3));
    assert.equal(
      run.published.reduce((sum, each) => sum + each.changes, 0),
      4,
    );
    assert.equal(
      run.published.reduce((sum, each) => sum + each.versions, 0),
      4,
    );
  });

  it('unchanged rows rewritten by MERGE, OVERWRITE and RESTORE are dropped', async () => {
    table.insert(employee(1, 'Ann'), employee(2, 'Bob'));
    table.merge({ upserts: [employee(1, 'Ann'), employee(2, 'Rob')] });
    table.overwrite([employee(1, 'Ann'), employee(2, 'Rob')]);
    table.restore(1);
    start();
    await upTo(4);
    assert.deepEqual(records().slice(2), ['2 update 2 Bob→Rob', '4 update 2 Rob→Bob']);
  });

  it('versions with the mark of a sink of ours are passed over whole', async () => {
    table.insert(employee(1, 'Ann'));
    table.merge({
      upserts: [employee(1, 'Eve'), employee(9, 'New')],
      deletes: [],
      mark: 'deltaferry/employees 0:12',
    });
    table.merge({ upserts: [employee(1, 'Anna')] });
    const run = start();
    await upTo(3);
    table.merge({ deletes: [9], mark: 'deltaferry/employees 0:13' });
    await upTo(4);
    assert.deepEqual(records(), ['1 insert 1 →Ann', '3 update 1 Eve→Anna']);
    assert.equal(run.state().name, 'polling');
  });

  it('duplicate keys, null keys and unfit values go to the dead letters, their neighbours to the topic', async () => {
    const error = new PoisonError({ code: 'VALUE_OUT_OF_RANGE', message: 'salary' });
    table.raw(
      { type: 'insert', row: employee(1, 'Ann') },
      { type: 'insert', row: employee(2, 'Bob') },
      { type: 'insert', row: employee(2, 'Bab') },
      { type: 'insert', row: employee(3, 'Cid', null), invalid: { error, values: ['3', 'Cid', '1e99'] } },
      { type: 'insert', row: employee(null, 'Nobody') },
      { type: 'insert', row: employee(4, 'Dan') },
    );
    start();
    await upTo(1);
    assert.deepEqual(records(), ['1 insert 1 →Ann', '1 insert 4 →Dan']);
    assert.deepEqual(
      topic.rejected.map(({ code, key }) => `${code} ${key}`),
      ['KEY_MISSING ', 'DUPLICATE_KEY 2', 'VALUE_OUT_OF_RANGE 3'],
    );
    assert.match(topic.rejected[1]?.payload ?? '', /Bob.*Bab/);
  });

  it('a schema change inside a range splits it', async () => {
    table.insert(employee(1));
    table.empty('DROP COLUMNS');
    table.insert(employee(2));
    table.insert(employee(3));
    table.schemaChanges.add(2).add(4);
    const run = start();
    await upTo(4);
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ['1', '2', '3'],
    );
    assert.ok(run.states.every(({ name }) => name !== 'stopped'));
  });

  it('a schema change that shows after the first rows starts the range over, nothing twice', async () => {
    for (const id of [1, 2, 3]) table.insert(employee(id));
    const source = table.source();
    let surprises = 1;
    start(
      { maxBatchChanges: 1 },
      {
        source: {
          ...source,
          async *changes(from, to, signal) {
            for await (const page of source.changes(from, to, signal)) {
              yield page.slice(0, 2);
              if (surprises-- > 0)
                throw new SchemaChangedError({ code: 'DELTA_SCHEMA_CHANGED', message: 'late', version: 3 });
              yield page.slice(2);
            }
          },
        },
      },
    );
    await upTo(3);
    assert.deepEqual(records(), ['1 insert 1 →Ann', '2 insert 2 →Ann', '3 insert 3 →Ann']);
  });

  it('commits without rows move the position', async () => {
    table.empty();
    table.empty();
    start();
    await upTo(2);
    assert.deepEqual(topic.changes, []);
  });
});

describe('delta feed: transactions', () => {
  const fill = (count: number): void =>
    table.insert(...Array.from({ length: count }, (_, index) => employee(index + 1)));

  it('several small versions share one, a large one spans several', async () => {
    for (let id = 1; id <= 3; id++) table.insert(employee(id));
    table.insert(...Array.from({ length: 10 }, (_, index) => employee(100 + index)));
    start({ maxBatchChanges: 6 });
    await upTo(4);
    assert.deepEqual(
      topic.transactions.map(({ changes }) => changes.length),
      [6, 6, 1],
    );
    assert.deepEqual(topic.transactions[0]?.position, positionAt(3, 3));
  });

  it('a large commit is resumed behind what was published, nothing twice', async () => {
    fill(20);
    topic.position = { tableId: 'table-1', version: 0, groups: 13 };
    start({ maxBatchChanges: 4 });
    await upTo(1);
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ['14', '15', '16', '17', '18', '19', '20'],
    );
  });

  it('reads at most one batch ahead of the transaction in hand', async () => {
    fill(40);
    let pagesRead = 0;
    let publishes = 0;
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    const log = topic.log();
    const run = start(
      { maxBatchChanges: 4 },
      {
        source: withFaults(table.source(), (method) => {
          if (method === 'page') pagesRead++;
          return 'none';
        }),
        log: {
          ...log,
          async publish(batch) {
            publishes++;
            await gate;
            await log.publish(batch);
          },
        },
      },
    );
    await until(() => publishes === 1, 'the first transaction is on its way');
    for (let turns = 0; turns < 50; turns++) await tick();
    const ahead = { pagesRead, publishes };
    // Before anything can fail: a feed whose transaction never ends cannot be drained.
    open();
    // Pages of 3 rows: two batches of 4 and the page that fills the second.
    assert.ok(ahead.pagesRead <= 3, `${ahead.pagesRead} pages were read`);
    assert.equal(ahead.publishes, 1);
    await upTo(1);
    assert.equal(topic.changes.length, 40);
    assert.equal(run.state().name, 'polling');
  });

  it('a long backlog is read in bounded ranges, with as much history as it takes', async () => {
    for (let id = 1; id <= 250; id++) table.insert(employee(id));
    const asked: number[] = [];
    const ranges: number[] = [];
    const source = table.source();
    start(
      { historyLimit: 10, maxVersionsPerRead: 20 },
      {
        source: {
          ...source,
          commits: (limit) => (asked.push(limit), source.commits(limit)),
          changes: (from, to, signal) => (ranges.push(to - from + 1), source.changes(from, to, signal)),
        },
      },
    );
    await upTo(250);
    assert.equal(topic.changes.length, 250);
    assert.ok(Math.max(...ranges) <= 20);
    assert.ok(asked.filter((limit) => limit > 10).length === 1, String(asked));
  });
});

async function stops(
  code: string,
  run: FeedRun,
  remedy = /deltaferry backfill employees/,
): Promise<OperatorError> {
  await run.reaches('stopped');
  const state = run.state();
  assert.ok(state.name === 'stopped' && state.error instanceof OperatorError, JSON.stringify(state));
  assert.equal(state.error.code, code);
  assert.match(state.error.remedy ?? '', remedy);
  return state.error;
}

describe('delta feed: what stops it, with the remedy', () => {
  it('versions that are vacuumed', async () => {
    table.insert(employee(1));
    table.insert(employee(2));
    table.readableFrom = 2;
    await stops('DELTA_VERSIONS_GONE', start(), /backfill/);
    assert.deepEqual(topic.changes, []);
  });

  it('a history that no longer reaches back, which would hide marks', async () => {
    for (let id = 1; id <= 5; id++) table.insert(employee(id));
    table.historyFrom = 3;
    const error = await stops('DELTA_VERSIONS_GONE', start());
    assert.match(error.message, /begins at version 3; version 0/);
  });

  it('a table created anew while the feed was away', async () => {
    table.insert(employee(1));
    await upToThenDrain(1);
    table = new FakeDelta(employees);
    table.id = 'table-2';
    for (let id = 1; id <= 5; id++) table.insert(employee(id, 'other'));
    await stops('DELTA_TABLE_REPLACED', start());
    assert.deepEqual(records(), ['1 insert 1 →Ann']);
  });

  it('a table replaced under a running feed', async () => {
    table.insert(employee(1));
    const run = start();
    await upTo(1);
    table.replace();
    table.insert(employee(2));
    await stops('DELTA_TABLE_REPLACED', run);
    assert.deepEqual(records(), ['1 insert 1 →Ann']);
  });

  it('a copy restored at an older version', async () => {
    table.insert(employee(1));
    topic.position = { tableId: 'table-1', version: 7, groups: 0 };
    await stops('DELTA_TABLE_SHORTER', start());
  });

  it('a table without change data feed', async () => {
    table.changeDataFeed = false;
    await stops('DELTA_FEED_DISABLED', start());
  });

  it('a position that cannot be read', async () => {
    topic.position = { offset: 3 };
    await stops('POSITION_UNREADABLE', start());
  });

  it('and goes on by itself once it is mended', async () => {
    table.insert(employee(1));
    table.readableFrom = 1;
    const run = start();
    await run.reaches('stopped');
    table.readableFrom = 0;
    await upTo(1);
    assert.equal(run.state().name, 'polling');
  });

  async function upToThenDrain(version: number): Promise<void> {
    const run = start();
    await upTo(version);
    await run.drain();
  }
});

describe('delta feed: failures and hand-over', () => {
  it('a transient failure is backed off and the position read again from the log', async () => {
    table.insert(employee(1));
    let failures = 3;
    let opens = 0;
    const log = topic.log();
    const run = start(
      {},
      {
        log: { ...log, open: () => (opens++, log.open()) },
        source: withFaults(table.source(), (method): Fault =>
          method === 'commits' && failures-- > 0 ? 'before' : 'none',
        ),
      },
    );
    await upTo(1);
    assert.equal(opens, 4);
    assert.deepEqual(run.states.map(({ name }) => name).slice(0, 4), [
      'standby',
      'starting',
      'polling',
      'backing-off',
    ]);
    assert.deepEqual(records(), ['1 insert 1 →Ann']);
  });

  it('a lost answer to a transaction publishes nothing twice', async () => {
    for (let id = 1; id <= 9; id++) table.insert(employee(id));
    let lost = 0;
    start(
      { maxBatchChanges: 2 },
      {
        log: withFaults(topic.log(), (method): Fault =>
          method === 'publish' && ++lost % 3 === 1 ? 'after' : 'none',
        ),
      },
    );
    await upTo(9);
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ['1', '2', '3', '4', '5', '6', '7', '8', '9'],
    );
  });

  it('a failed transaction is noticed while the table is idle', async () => {
    table.insert(employee(1));
    let failing = true;
    const run = start(
      {},
      {
        log: withFaults(topic.log(), (method): Fault =>
          method === 'publish' && failing ? 'before' : 'none',
        ),
      },
    );
    await run.reaches('backing-off');
    failing = false;
    await upTo(1);
    assert.deepEqual(records(), ['1 insert 1 →Ann']);
  });

  it('a standby takes over when the leader drains, and while its lease is gone', async () => {
    table.insert(employee(1));
    const first = start();
    await upTo(1);
    const second = start();
    table.insert(employee(2));
    await upTo(2);
    assert.equal(second.state().name, 'standby');
    await first.drain();
    assert.equal(first.state().name, 'standby');
    await second.reaches('polling');
    table.insert(employee(3));
    await upTo(3);
    const third = start();
    leadership.take('delta-feed/employees');
    const standbys = (): number => second.states.filter(({ name }) => name === 'standby').length;
    await until(() => standbys() === 2, 'the leader knows that its lease is gone', 1_000);
    await until(
      () =>
        third.state().name === 'polling' ||
        second.states.filter(({ name }) => name === 'polling').length === 2,
      'somebody leads again',
    );
    table.insert(employee(4));
    await upTo(4);
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ['1', '2', '3', '4'],
    );
  });

  it('a zombie that still believes it leads publishes nothing', async () => {
    table.insert(employee(1));
    const zombie = start();
    await upTo(1);
    const other = topic.log();
    await other.open();
    table.insert(employee(2));
    // The zombie is fenced, goes back to standby, leads again and sends the change once.
    await upTo(2);
    assert.ok(zombie.states.filter(({ name }) => name === 'standby').length > 1);
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ['1', '2'],
    );
  });

  it('draining ends the transaction in hand and starts no other', async () => {
    for (let id = 1; id <= 30; id++) table.insert(employee(id));
    // One page holds many transactions: the end of the pages is not what ends it.
    table.pageRows = 30;
    const run = start({ maxBatchChanges: 3 }, { log: withFaults(topic.log(), () => 'slow') });
    await until(() => topic.transactions.length === 2, 'two transactions');
    await run.drain();
    const sent = topic.transactions.length;
    assert.ok(sent <= 4, `${sent} transactions`);
    assert.equal(run.published.length, sent);
    for (let turns = 0; turns < 20; turns++) await tick();
    assert.equal(topic.transactions.length, sent);
  });

  it('draining does not wait for a warehouse that hangs', async () => {
    table.insert(employee(1));
    const run = start(
      {},
      { source: withFaults(table.source(), (method): Fault => (method === 'commits' ? 'hang' : 'none')) },
    );
    await run.reaches('polling');
    await run.drain();
    assert.equal(run.state().name, 'standby');
  });
});

describe('delta feed: polling', () => {
  it('asks more seldom while nothing happens, at once after work', async () => {
    const clock = fakeClock();
    table.insert(employee(1));
    const run = startFeed({
      mapping: employees,
      source: table.source(),
      log: topic.log(),
      leadership: leadership.port(),
      clock,
      options: { busyMs: 0 },
    });
    runs.push(run);
    await until(() => clock.slept.length > 10, 'ten waits');
    assert.deepEqual(clock.slept.slice(0, 8), [5, 10, 20, 40, 80, 160, 200, 200]);
    const idle = clock.slept.length;
    table.insert(employee(2));
    await upTo(2);
    await until(() => clock.slept.length > idle + 3, 'three more waits');
    assert.ok(clock.slept.slice(idle).includes(5));
  });

  it('the history is not asked for while the table stands still, but now and then all the same', async () => {
    const source = table.source();
    let asked = 0;
    const clock = fakeClock();
    const still = { ...(await source.describe()) };
    const run = startFeed({
      mapping: employees,
      // A stamp that never tells: the worst a storage with coarse times can do.
      source: {
        ...source,
        describe: async () => still,
        commits: (limit) => (asked++, source.commits(limit)),
      },
      log: topic.log(),
      leadership: leadership.port(),
      clock,
      options: { recheckMs: 5_000, busyMs: 0 },
    });
    runs.push(run);
    await until(() => clock.now() > 4_000, 'four seconds');
    assert.equal(asked, 1);
    table.insert(employee(1));
    await upTo(1);
    assert.ok(asked <= 3, `${asked}`);
  });

  it('the next version is read while the history is asked, and dropped where it is our own', async () => {
    const source = table.source();
    const reads: string[] = [];
    start(
      { busyMs: 0 },
      {
        source: {
          ...source,
          changes: (from, to, signal) => (reads.push(`${from}-${to}`), source.changes(from, to, signal)),
        },
      },
    );
    await upTo(0);
    table.insert(employee(1));
    await upTo(1);
    table.merge({ upserts: [employee(2)], mark: 'deltaferry/employees 0:1' });
    await upTo(2);
    table.insert(employee(3));
    table.insert(employee(4));
    await upTo(4);
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ['1', '3', '4'],
    );
    assert.deepEqual(reads, ['0-0', '1-1', '2-2', '3-3', '4-4']);
  });

  describe('right after a commit the history is asked, not the table', () => {
    const looks = { count: 0 };
    const counted = (): DeltaSource => {
      const source = table.source();
      looks.count = 0;
      return { ...source, describe: () => ((looks.count += 1), source.describe()) };
    };

    it('commits that follow one another are published without a look at the table', async () => {
      start({ busyMs: 60_000 }, { source: counted() });
      table.insert(employee(1));
      await upTo(1);
      const before = looks.count;
      for (let id = 2; id <= 5; id += 1) {
        table.insert(employee(id));
        await upTo(id);
      }
      assert.equal(looks.count, before);
      assert.deepEqual(
        topic.changes.map(({ key }) => key),
        ['1', '2', '3', '4', '5'],
      );
    });

    for (const [what, replace] of [
      ['created anew', () => table.createAnew()],
      ['replaced', () => table.replace()],
    ] as const)
      it(`a table that was ${what} meanwhile is found out before anything of it is published`, async () => {
        const run = start({ busyMs: 60_000 }, { source: counted() });
        table.insert(employee(1));
        await upTo(1);
        replace();
        for (let id = 7; id <= 12; id += 1) table.insert(employee(id));
        await stops('DELTA_TABLE_REPLACED', run);
        assert.deepEqual(
          topic.changes.map(({ key }) => key),
          ['1'],
        );
      });
  });
});
