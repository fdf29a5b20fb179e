import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { atMostEvery } from '../../src/flow/at-most-every.ts';

describe('news that are passed on at most every 100 ms', () => {
  let passed: number[];
  let news: ReturnType<typeof atMostEvery<number>>;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] });
    passed = [];
    news = atMostEvery<number>(100, (value) => passed.push(value));
  });

  afterEach(() => mock.timers.reset());

  it('are passed on at once where there were none for so long', () => {
    news.tell(1);
    mock.timers.tick(100);
    news.tell(2);
    assert.deepEqual(passed, [1, 2]);
  });

  it('are the newest where they come sooner, and the last comes though nothing follows it', () => {
    for (const value of [1, 2, 3]) news.tell(value);
    mock.timers.tick(99);
    assert.deepEqual(passed, [1]);
    mock.timers.tick(1);
    assert.deepEqual(passed, [1, 3]);
    news.tell(4);
    assert.deepEqual(passed, [1, 3], 'not sooner for having waited');
    mock.timers.tick(100);
    mock.timers.tick(1000);
    assert.deepEqual(passed, [1, 3, 4], 'none twice');
  });

  it('are told to the end, and nothing after it', () => {
    news.tell(1);
    news.tell(2);
    news.end();
    mock.timers.tick(1000);
    assert.deepEqual(passed, [1, 2]);
  });
});
