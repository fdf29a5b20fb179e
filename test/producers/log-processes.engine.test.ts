import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Change } from '../../src/change/change.ts';
import type { PostgresLogFeedOptions } from '../../src/producers/postgres-log-deps.ts';
import { peakMemory } from '../support/memory.ts';
import { testStack } from '../support/stack.ts';
import { until } from '../support/until.ts';
import { openCaptureDatabase, type CaptureDatabase, type CapturedTable } from './captured-table.ts';
import { FakeLeadership } from './fake-log.ts';
import { withFaults, type Fault } from './faults.ts';
import { startLogProcess, type LogProcess } from './log-process.ts';
import { startLogPoller } from './log-run.ts';
import { openLogTopics, PARTITIONS, type LogTopics, type TableTopics } from './log-topics.ts';
import type { WorkerWord } from './log-worker.ts';

/** A million by choice: DELTAFERRY_LOG_ROWS=1000000. */
const ROWS = Number(process.env['DELTAFERRY_LOG_ROWS'] ?? 200_000);

describe('log poller: real processes and a real topic', () => {
  let database: CaptureDatabase;
  let topics: LogTopics;
  let processes: LogProcess[] = [];
  before(async () => {
    database = await openCaptureDatabase();
    topics = await openLogTopics('log-processes');
  });
  afterEach(async () => {
    for (const one of processes) await one.kill();
    processes = [];
  });
  after(async () => {
    await topics?.drop();
    await database?.drop();
  });

  async function fresh(): Promise<{ table: CapturedTable; topic: TableTopics }> {
    const table = await database.table();
    return { table, topic: await topics.of(table.mapping) };
  }

  function start(
    table: CapturedTable,
    topic: TableTopics,
    options: Partial<PostgresLogFeedOptions> = {},
    onWord?: (word: WorkerWord) => void,
  ): LogProcess {
    const started = startLogProcess(
      {
        url: table.url,
        table: table.table,
        mapping: table.mapping,
        brokers: testStack().kafka.brokers,
        producerName: `${topics.own.prefix}-postgres-log`,
        topic: topic.topic,
        partitions: PARTITIONS,
        deadLetterTopic: topic.deadLetterTopic,
        positionsTopic: topics.positionsTopic,
        options,
      },
      onWord,
    );
    processes.push(started);
    return started;
  }

  const published = (poller: LogProcess, count: number): Promise<unknown> =>
    until(`${count} changes, ${poller.state()}`, () => poller.published() >= count);

  it('one transaction of many rows is paged in bounded memory', async () => {
    const { table, topic } = await fresh();
    await table.sql(
      `INSERT INTO ${table.table} SELECT n, repeat('x', 100) || n, n % 1000 FROM generate_series(1, $1::int) n`,
      [ROWS],
    );
    const begun = performance.now();
    const poller = start(table, topic);
    await published(poller, ROWS);
    const seconds = (performance.now() - begun) / 1000;
    const memory = peakMemory(poller.pid);
    assert.equal(await poller.stop(), 0);
    console.log(`${ROWS} rows in ${seconds.toFixed(1)} s, peak ${memory} MB`);
    // All of it at once would be beyond 1 KB a row.
    assert.ok(memory !== null && memory < 400, `peak ${memory} MB`);
    const found = [...(await topic.changes()).values()].flat();
    assert.equal(found.length, ROWS);
    assert.equal(new Set(found.map(({ key }) => key)).size, ROWS);
  });

  it('killed in the midst of a window, again and again: resumes behind what was published, nothing twice', async () => {
    const { table, topic } = await fresh();
    const rows = 5_000;
    await table.sql(`INSERT INTO ${table.table} SELECT n, 'v1', n FROM generate_series(1, $1::int) n`, [
      rows,
    ]);
    await table.sql(`UPDATE ${table.table} SET name = 'v2'`);
    const killed: number[] = [];
    for (let kill = 1; kill <= 4; kill++) {
      const dying = start(table, topic, { maxBatchChanges: 100 }, () => {
        if (dying.published() >= 900) void dying.kill();
      });
      await published(dying, 900);
      await dying.kill();
      killed.push(dying.published());
    }
    const before = killed.reduce((sum, each) => sum + each, 0);
    const last = start(table, topic);
    await until('everything is on the topic', async () => (await count(topic)) >= 2 * rows);
    await last.stop();
    assert.ok(before < rows, `each was killed in mid-window: ${killed.join(', ')}`);
    assert.ok(
      last.published() > 0 && last.published() <= 2 * rows - before,
      `the last did ${last.published()}`,
    );
    assertOnce(await topic.changes(), 2 * rows);
  });

  it('a standby takes over within 5 s of the death of the leader', async () => {
    const { table, topic } = await fresh();
    const leader = start(table, topic);
    await until('the leader leads', () => leader.state() === 'polling');
    const standby = start(table, topic);
    await until('the standby waits', () => standby.state() === 'standby');
    await table.sql(`INSERT INTO ${table.table} VALUES (1, 'Ann', 1)`);
    await published(leader, 1);
    assert.equal(standby.state(), 'standby');
    const died = performance.now();
    await leader.kill();
    await table.sql(`INSERT INTO ${table.table} VALUES (2, 'Bob', 1)`);
    await published(standby, 1);
    const took = performance.now() - died;
    console.log(`took over and published within ${Math.round(took)} ms`);
    assert.ok(took < 5_000, `${took} ms`);
    assertOnce(await topic.changes(), 2);
  });

  it('the answer to a transaction gets lost, or its request: nothing twice, nothing missing', async () => {
    const { table, topic } = await fresh();
    const rows = 2_000;
    await table.sql(`INSERT INTO ${table.table} SELECT n, 'Ann', n FROM generate_series(1, $1::int) n`, [
      rows,
    ]);
    let calls = 0;
    let lost = 0;
    const next = (method: string): Fault => {
      if (method !== 'publish' || ++calls % 3 !== 0 || lost >= 6) return 'none';
      return ++lost % 2 === 0 ? 'before' : 'after';
    };
    const run = startLogPoller({
      table: table.name,
      source: table.source({ pageChanges: 50 }),
      log: withFaults(topic.log(), next),
      leadership: new FakeLeadership().port(),
      options: { maxBatchChanges: 100, backoffInitialMs: 5 },
    });
    try {
      await until('everything is on the topic', async () => (await count(topic)) >= rows);
    } finally {
      await run.drain();
    }
    assert.equal(lost, 6);
    assert.equal(run.states.filter(({ name }) => name === 'backing-off').length, 6);
    assertOnce(await topic.changes(), rows);
  });

  async function count(topic: TableTopics): Promise<number> {
    return [...(await topic.changes()).values()].reduce((sum, { length }) => sum + length, 0);
  }
});

function assertOnce(published: ReadonlyMap<number, readonly Change[]>, count: number): void {
  const all = [...published.values()].flat();
  const positions = all.map(({ position }) => String(position));
  assert.equal(new Set(positions).size, positions.length, 'nothing twice');
  assert.equal(all.length, count);
}
