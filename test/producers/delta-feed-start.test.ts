import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { TransientError, type OperatorError } from '../../src/errors.ts';
import type { LoadStart } from '../../src/flow/feed-jump.ts';
import { employee, employees } from './employees.ts';
import { FakeDelta } from './fake-delta.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { startFeed, type FeedRun } from './feed-run.ts';

let table: FakeDelta;
let topic: FakeTopic;
let run: FeedRun;

function start(startAfter?: (tableId: string) => Promise<number | null>): FeedRun {
  run = startFeed({
    mapping: employees,
    source: table.source(),
    log: topic.log(),
    leadership: new FakeLeadership().port(),
    ...(startAfter === undefined ? {} : { startAfter: async (id) => liveAt(await startAfter(id)) }),
  });
  return run;
}

const liveAt = (version: number | null): LoadStart | null =>
  version === null ? null : { version, began: '2026-01-01', live: true };
const published = (): Promise<void> =>
  until(() => topic.position?.['version'] === table.version, 'everything is published');
const names = (): unknown[] => topic.changes.map(({ after }) => after?.[1]);

beforeEach(() => {
  table = new FakeDelta(employees);
  topic = new FakeTopic();
  table.insert(employee(1, 'first'));
  table.insert(employee(2, 'second'));
  table.insert(employee(3, 'third'));
});
afterEach(() => run.drain());

describe('where a delta feed begins', () => {
  it('behind the version of the newest load, also where older ones are gone', async () => {
    table.readableFrom = 3;
    start(async (tableId) => (tableId === 'table-1' ? 2 : null));
    await published();
    assert.deepEqual(names(), ['third']);
  });

  it('at version 0 where the table was never loaded', async () => {
    start(async () => null);
    await published();
    assert.deepEqual(names(), ['first', 'second', 'third']);
  });

  it('where it stood: a later load changes nothing', async () => {
    topic.position = { tableId: 'table-1', version: 1, groups: 0 };
    start(async () => 3);
    await published();
    assert.deepEqual(names(), ['second', 'third']);
  });

  it('behind the load of a table that took the place of another', async () => {
    topic.position = { tableId: 'table-0', version: 40, groups: 0 };
    start(async (tableId) => (tableId === 'table-1' ? 1 : null));
    await published();
    assert.deepEqual(names(), ['second', 'third']);
  });

  it('behind a load that covers versions which are gone, and not before there is one', async () => {
    topic.position = { tableId: 'table-1', version: 0, groups: 0 };
    table.readableFrom = 3;
    let loaded: number | null = null;
    start(async () => loaded);
    await run.reaches('stopped');
    assert.deepEqual(names(), []);
    loaded = 2;
    await published();
    assert.deepEqual(names(), ['third']);
  });

  it('nowhere until the load has chosen its version', async () => {
    let chosen = false;
    start(async () => {
      if (!chosen) throw new TransientError({ code: 'LOAD_NOT_PINNED', message: 'not yet' });
      return 2;
    });
    await run.reaches('backing-off');
    assert.deepEqual(names(), []);
    chosen = true;
    await published();
    assert.deepEqual(names(), ['third']);
  });
});

/** A load from Delta. */
interface FakeLoad {
  readonly began: string;
  readonly version: number;
}

describe('a delta feed that only a load mends goes on with one that began after the stop', () => {
  let loads: FakeLoad[];

  const follow = (): FeedRun => {
    run = startFeed({
      mapping: employees,
      source: table.source(),
      log: topic.log(),
      leadership: new FakeLeadership().port(),
      newestLoad: async () => loads.at(-1)?.began ?? '',
      startAfter: async (_, since = '') =>
        liveAt(loads.findLast(({ began }) => began > since)?.version ?? null),
    });
    return run;
  };

  async function stopped(code: string): Promise<string> {
    await run.reaches('stopped');
    const { error } = run.state() as { error: OperatorError };
    assert.equal(error.code, code);
    return error.remedy ?? '';
  }

  /** It was tried again, and no more came of it. */
  async function stays(code: string, published: readonly string[]): Promise<void> {
    const { length } = run.states;
    await until(() => run.states.length > length + 4, 'it is tried again');
    await stopped(code);
    assert.deepEqual(names(), published);
  }

  /** The table as it was at a version takes its place, after everything was published. */
  async function restored(version: number): Promise<void> {
    follow();
    await published();
    await run.drain();
    table = table.copyAt(version);
  }

  beforeEach(() => {
    loads = [{ began: '2026-01-01', version: 0 }];
  });

  it('a copy that is shorter, however long it has become since', async () => {
    await restored(1);
    follow();
    assert.match(await stopped('DELTA_TABLE_SHORTER'), /make a commit.*deltaferry backfill employees`/);
    await run.drain();
    for (let id = 11; id <= 15; id++) table.insert(employee(id, `new ${id}`));
    follow();
    await stays('DELTA_TABLE_SHORTER', ['first', 'second', 'third']);
    loads.push({ began: '2026-01-02', version: 5 });
    await until(() => topic.position?.['version'] === 6, 'it goes on');
    table.insert(employee(16, 'new 16'));
    await published();
    await run.drain();
    follow();
    await published();
    assert.deepEqual(names(), ['first', 'second', 'third', 'new 15', 'new 16']);
  });

  it('a copy that is shorter: also back to the version that was loaded', async () => {
    await restored(1);
    follow();
    await stopped('DELTA_TABLE_SHORTER');
    loads.push({ began: '2026-01-02', version: 1 });
    await until(
      () => topic.position?.['version'] === 1 && topic.position?.['stopped'] === undefined,
      'it is back',
    );
    table.insert(employee(11, 'new 11'));
    await published();
    assert.deepEqual(names(), ['first', 'second', 'third', 'new 11']);
  });

  it('a copy that has overtaken the feed while it was away', async () => {
    await restored(1);
    for (let id = 11; id <= 15; id++) table.insert(employee(id, `new ${id}`));
    follow();
    await stays('DELTA_TABLE_RESTORED', ['first', 'second', 'third']);
    loads.push({ began: '2026-01-02', version: 6 });
    table.insert(employee(16, 'new 16'));
    await published();
    assert.deepEqual(names(), ['first', 'second', 'third', 'new 16']);
  });

  it('and goes on by itself once the table is put back', async () => {
    const whole = table;
    await restored(1);
    follow();
    await stopped('DELTA_TABLE_SHORTER');
    await run.drain();
    table = whole;
    table.insert(employee(4, 'fourth'));
    follow();
    await published();
    assert.deepEqual(names(), ['first', 'second', 'third', 'fourth']);
  });

  it('a position that is none', async () => {
    topic.position = { offset: 3 };
    follow();
    assert.match(await stopped('POSITION_UNREADABLE'), /run` going and .*deltaferry backfill employees`/);
    await stays('POSITION_UNREADABLE', []);
    loads.push({ began: '2026-01-02', version: 2 });
    await published();
    assert.deepEqual(names(), ['third']);
  });

  it('a version that cannot be read across a schema change: any load at it or past it', async () => {
    table.unreadable = 2;
    follow();
    await stopped('DELTA_SCHEMA_CHANGED');
    await stays('DELTA_SCHEMA_CHANGED', []);
    loads.push({ began: '2026-01-02', version: 2 });
    await published();
    assert.deepEqual(names(), ['third']);
  });
});
