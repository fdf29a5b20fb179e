import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { TransientError } from '../../src/errors.ts';
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
    ...(startAfter === undefined ? {} : { startAfter }),
  });
  return run;
}

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
