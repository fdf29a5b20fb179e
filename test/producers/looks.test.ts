import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLooks } from '../../src/producers/looks.ts';
import { employee, employees } from './employees.ts';
import { FakeDelta } from './fake-delta.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { startFeed } from './feed-run.ts';

describe('delta feed: a look at the table that takes long', () => {
  it('does not keep a commit from being published', async () => {
    const table = new FakeDelta(employees);
    const topic = new FakeTopic();
    const source = table.source();
    const answers = Promise.withResolvers<void>();
    let hangs = false;
    table.insert(employee(1));
    const run = startFeed({
      mapping: employees,
      source: {
        ...source,
        describe: async () => {
          if (hangs) await answers.promise;
          return source.describe();
        },
      },
      log: topic.log(),
      leadership: new FakeLeadership().port(),
      options: { busyMs: 0 },
    });
    const published = (keys: string): Promise<void> =>
      until(() => topic.changes.map(({ key }) => key).join() === keys, `${keys} are published`);
    try {
      await published('1');
      hangs = true;
      table.insert(employee(2));
      await published('1,2');
      hangs = false;
      answers.resolve();
      table.insert(employee(3));
      await published('1,2,3');
      assert.equal(run.state().name, 'polling');
    } finally {
      answers.resolve();
      await run.drain();
    }
  });

  const never = new AbortController().signal;

  it('is one look, which is waited for again', async () => {
    const answers = Promise.withResolvers<void>();
    let begun = 0;
    const looked = createLooks(() => (++begun === 1 ? Promise.resolve() : answers.promise));
    assert.equal(await looked(never), true);
    assert.equal(await looked(never), false);
    assert.equal(await looked(never), false);
    assert.equal(begun, 2);
    answers.resolve();
    assert.equal(await looked(never), true);
    assert.equal(begun, 2);
  });

  it('throws its failure to whoever waits then, and is begun anew where nobody did', async () => {
    let answers = Promise.withResolvers<void>();
    let begun = 0;
    const looked = createLooks(() => (++begun === 1 ? Promise.resolve() : answers.promise));
    await looked(never);
    assert.equal(await looked(never), false);
    const waits = looked(never);
    answers.reject(new Error('gone'));
    await assert.rejects(waits, /gone/);

    answers = Promise.withResolvers();
    assert.equal(await looked(never), false);
    answers.reject(new Error('gone unseen'));
    await answers.promise.catch(() => {});
    answers = Promise.withResolvers();
    answers.resolve();
    assert.equal(await looked(never), true);
    assert.equal(begun, 4);
  });

  it('ends with the signal', async () => {
    const stop = new AbortController();
    const looked = createLooks(() => new Promise(() => {}));
    const waits = looked(stop.signal);
    stop.abort(new Error('stopped'));
    await assert.rejects(waits, /stopped/);
  });
});
