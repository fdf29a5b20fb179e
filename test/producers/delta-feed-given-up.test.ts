import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { TransientError, type OperatorError } from '../../src/errors.ts';
import { standingOf } from '../../src/flow/feed-jump.ts';
import type { LoadPhase } from '../../src/flow/load-state.ts';
import { employee, employees } from './employees.ts';
import { FakeDelta, positionAt } from './fake-delta.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { startFeed, type FeedRun } from './feed-run.ts';

interface FakeLoad {
  readonly began: string;
  readonly tableId: string;
  /** Null: not chosen yet. */
  version: number | null;
  phase: LoadPhase;
}

let table: FakeDelta;
let topic: FakeTopic;
let loads: FakeLoad[];
let run: FeedRun;

/** A load of the newest version. */
function begin(version: number | null = table.version): FakeLoad {
  const load: FakeLoad = {
    began: `2026-01-0${loads.length + 1}`,
    tableId: table.id,
    version,
    phase: 'snapshot',
  };
  loads.push(load);
  return load;
}

function follow(): void {
  run = startFeed({
    mapping: employees,
    source: table.source(),
    log: topic.log(),
    leadership: new FakeLeadership().port(),
    newestLoad: async () => loads.at(-1)?.began ?? '',
    startAfter: async (tableId, since = '') => {
      const newest = loads.findLast(({ began, phase }) => began > since && phase !== 'failed');
      if (newest === undefined) return null;
      const { version, began, phase } = newest;
      if (version === null) throw new TransientError({ code: 'LOAD_NOT_PINNED', message: 'not yet' });
      return newest.tableId === tableId ? { version, began, live: phase === 'live' } : null;
    },
    loadPhase: async (began) => loads.find((load) => load.began === began)?.phase ?? null,
  });
}

async function restarted(): Promise<void> {
  await run.drain();
  follow();
}

const names = (): unknown[] => topic.changes.map(({ after }) => after?.[1]);
const standsAt = (version: number): Promise<void> =>
  until(() => topic.position?.['version'] === version, `version ${version} is published`);
const remembers = (): boolean => standingOf(topic.position).jump !== null;
const insert = (id: number): void => table.insert(employee(id, `new ${id}`));

async function stops(code: string, remedy = /deltaferry backfill/): Promise<void> {
  await until(() => {
    const state = run.state();
    return state.name === 'stopped' && (state.error as OperatorError).code === code;
  }, code);
  assert.match((run.state() as { error: OperatorError }).error.remedy ?? '', remedy);
}

/** It was tried again, and no more came of it. */
async function staysStopped(code: string): Promise<void> {
  const published = names();
  const { length } = run.states;
  await until(() => run.states.length > length + 4, 'it is tried again');
  await stops(code);
  assert.deepEqual(names(), published);
}

beforeEach(() => {
  table = new FakeDelta(employees);
  topic = new FakeTopic();
  loads = [];
  for (const id of [1, 2, 3, 4]) insert(id);
});
afterEach(() => run.drain());

describe('a delta feed that went on behind a load stops again once that is given up', () => {
  /** Versions 1 to 3 are gone and were not published; a load of version 4 has begun, and the feed has gone on. */
  async function behindLoad(): Promise<FakeLoad> {
    topic.position = positionAt(0, 0);
    table.readableFrom = 4;
    follow();
    await stops('DELTA_VERSIONS_GONE');
    const load = begin();
    insert(5);
    await standsAt(5);
    assert.deepEqual(names(), ['new 5']);
    return load;
  }

  it('while it runs, for versions that are gone, and goes on with the next load', async () => {
    const load = await behindLoad();
    load.phase = 'failed';
    await stops('DELTA_VERSIONS_GONE');
    insert(6);
    await staysStopped('DELTA_VERSIONS_GONE');
    begin().phase = 'live';
    insert(7);
    await standsAt(7);
    assert.deepEqual(names(), ['new 5', 'new 7']);
    assert.ok(!remembers());
  });

  it('while it is away, after restarts before and after that', async () => {
    const load = await behindLoad();
    await restarted();
    insert(6);
    await standsAt(6);
    await run.drain();
    load.phase = 'failed';
    follow();
    await stops('DELTA_VERSIONS_GONE');
    await restarted();
    await staysStopped('DELTA_VERSIONS_GONE');
    assert.deepEqual(names(), ['new 5', 'new 6']);
  });

  it('and once more where the next load is given up, too', async () => {
    const load = await behindLoad();
    load.phase = 'failed';
    await stops('DELTA_VERSIONS_GONE');
    const next = begin();
    insert(6);
    await standsAt(6);
    next.phase = 'failed';
    await staysStopped('DELTA_VERSIONS_GONE');
  });

  it('but goes on, and publishes nothing twice, where another has taken its place', async () => {
    const load = await behindLoad();
    await run.drain();
    load.phase = 'failed';
    // Of a version that the feed is past already.
    const next = begin(4);
    follow();
    insert(6);
    await standsAt(6);
    assert.deepEqual(names(), ['new 5', 'new 6']);
    next.phase = 'failed';
    await stops('DELTA_VERSIONS_GONE');
  });

  it('and waits for another that has not chosen its version', async () => {
    const load = await behindLoad();
    load.phase = 'failed';
    const next = begin(null);
    await run.reaches('backing-off');
    next.version = table.version;
    next.phase = 'live';
    insert(6);
    await standsAt(6);
    assert.deepEqual(names(), ['new 5', 'new 6']);
  });

  it('not where the load is live: then nothing is remembered any more', async () => {
    const load = await behindLoad();
    assert.ok(remembers());
    load.phase = 'handover';
    insert(6);
    await standsAt(6);
    assert.ok(remembers());
    load.phase = 'live';
    for (let id = 7; remembers(); id++) {
      insert(id);
      await standsAt(id);
    }
    await restarted();
    insert(100);
    await until(() => names().includes('new 100'), 'it goes on');
    assert.equal(new Set(names()).size, names().length);
  });

  it('where it had published nothing before either', async () => {
    table.readableFrom = 4;
    follow();
    await stops('DELTA_VERSIONS_GONE');
    const load = begin();
    insert(5);
    await standsAt(5);
    load.phase = 'failed';
    await staysStopped('DELTA_VERSIONS_GONE');
  });

  it('for a table that took the place of another', async () => {
    topic.position = { tableId: 'table-0', version: 40, groups: 0 };
    follow();
    await stops('DELTA_TABLE_REPLACED');
    const load = begin();
    insert(5);
    await standsAt(5);
    load.phase = 'failed';
    await staysStopped('DELTA_TABLE_REPLACED');
  });

  it('for a copy that was restored, unless the table is put back', async () => {
    const whole = table;
    follow();
    await standsAt(4);
    await run.drain();
    table = table.copyAt(1);
    follow();
    await stops('DELTA_TABLE_SHORTER', /Put the table back/);
    const load = begin();
    await standsAt(1);
    insert(11);
    await standsAt(2);
    load.phase = 'failed';
    await staysStopped('DELTA_TABLE_SHORTER');
    await run.drain();
    table = whole;
    insert(5);
    follow();
    await standsAt(5);
    assert.deepEqual(names(), ['new 1', 'new 2', 'new 3', 'new 4', 'new 11', 'new 5']);
  });

  it('where it has found the table restored since, too', async () => {
    const load = await behindLoad();
    await run.drain();
    const whole = table;
    table = table.copyAt(4);
    follow();
    await stops('DELTA_TABLE_SHORTER');
    await staysStopped('DELTA_TABLE_SHORTER');
    load.phase = 'failed';
    await staysStopped('DELTA_TABLE_SHORTER');
    const next = begin();
    await standsAt(4);
    next.phase = 'failed';
    await staysStopped('DELTA_TABLE_SHORTER');
    // Put back, it is where the first load was to bring what is gone.
    const copy = table;
    await run.drain();
    table = whole;
    follow();
    await stops('DELTA_VERSIONS_GONE');
    await run.drain();
    table = copy;
    follow();
    begin().phase = 'live';
    insert(21);
    insert(22);
    await standsAt(6);
    assert.deepEqual(names(), ['new 5', 'new 21', 'new 22']);
  });
});
