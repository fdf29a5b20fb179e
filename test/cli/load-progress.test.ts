import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { duration, loadProgressText } from '../../src/cli/load-progress.ts';
import type { BackfillProgress } from '../../src/service/backfill.ts';

const at = (stage: BackfillProgress['stage'], rows: number): BackfillProgress => ({
  load: 'load-1',
  source: 'delta',
  way: 'fill',
  stage,
  pinned: { tableId: 'table-1', version: 12, ts: 0, rows: 2_000_000 },
  read: rows * 2,
  published: rows,
  rejected: 0,
  applied: rows / 2,
  heldUp: 0,
  backlog: null,
  compared: 0,
  handoverSeconds: null,
});

describe('the progress of a load', () => {
  it('says rows, the rate of each stage over the last seconds, and how long it takes with the hand-over', () => {
    const text = loadProgressText('employees');
    text(at('loading', 0), 0);
    text(at('loading', 100_000), 4_000);
    assert.equal(
      text(at('loading', 1_000_000), 10_000),
      'employees: 500,000 of 2,000,000 (25%) · 0/s applied · 0/s published · 0/s read',
      'what is older than the window does not count',
    );
    assert.equal(
      text(at('loading', 1_200_000), 12_000),
      'employees: 600,000 of 2,000,000 (30%) · about 48 s left · 50k/s applied · 100k/s published · 200k/s read',
    );
  });

  it('has the rows, the time left and the rate within a terminal of eighty columns', () => {
    const text = loadProgressText('employees');
    const large = (applied: number): BackfillProgress => ({
      ...at('loading', applied * 2),
      pinned: { tableId: 'table-1', version: 12, ts: 0, rows: 20_000_000 },
    });
    text(large(8_000_000), 0);
    const line = text(large(8_500_000), 5_000);
    assert.match(
      line.slice(0, 79),
      /8,500,000 of 20,000,000 \(42%\) · about 3:35 min left · 100k\/s applied/,
    );
  });

  it('says of a load from the topic, and of what is published, only how far it is applied', () => {
    for (const more of [{ source: 'topic' }, { published: 2_000_000 }] as const) {
      const text = loadProgressText('employees');
      text({ ...at('loading', 0), ...more }, 0);
      assert.equal(
        text({ ...at('loading', 40_000), ...more }, 4_000),
        'employees: 20,000 of 2,000,000 (1%) · about 9:56 min left · 5,000/s applied',
      );
    }
  });

  for (const [stage, expected] of [
    ['pinning', 'employees: choosing the version to load'],
    ['exporting', 'employees: exporting 2,000,000 rows of version 12'],
    ['handing over', 'employees: moving 5 rows into the table'],
    ['done', 'employees: 5 rows loaded'],
  ] as const)
    it(`${stage}: ${expected}`, () => {
      assert.equal(loadProgressText('employees')(at(stage, 10), 0), expected);
    });

  it('never has nothing left before the hand-over, which goes on with the time that it should take', () => {
    const text = loadProgressText('employees');
    const all = { ...at('loading', 2_000_000), applied: 2_000_000 };
    text(at('loading', 2_000_000), 0);
    assert.equal(
      text(all, 5_000),
      'employees: 2,000,000 of 2,000,000 (100%) · about 5 s left · 200k/s applied',
    );
    const moving: BackfillProgress = { ...all, stage: 'handing over', handoverSeconds: 5 };
    assert.equal(text(moving, 5_100), 'employees: moving 2,000,000 rows into the table · about 5 s left');
    assert.equal(
      text(moving, 7_100),
      'employees: moving 2,000,000 rows into the table · for 2 s · about 3 s left',
    );
    assert.equal(text(moving, 11_100), 'employees: moving 2,000,000 rows into the table · for 6 s');
  });

  it('says of a comparison how many rows of all, how fast, how long, and for whom it waits', () => {
    const text = loadProgressText('employees');
    const comparing: BackfillProgress = {
      ...at('handing over', 2_000_000),
      applied: 2_000_000,
      way: 'reconcile',
    };
    assert.equal(text(comparing, 0), 'employees: comparing 2,000,000 rows with the table');
    assert.equal(
      text({ ...comparing, compared: 500_000 }, 10_000),
      'employees: 500,000 of 2,000,000 rows (25%) compared with the table · 50k/s · about 30 s left',
    );
    assert.equal(
      text({ ...comparing, compared: 2_000_000, heldUp: 1 }, 50_000),
      'employees: 2,000,000 of 2,000,000 rows (100%) compared with the table · 40k/s · 1 range of keys waits for open transactions in Postgres',
    );
  });

  it('writes durations as people do', () => {
    assert.deepEqual([0, 59.4, 60, 125, 3609].map(duration), [
      '0 s',
      '59 s',
      '1:00 min',
      '2:05 min',
      '1:00:09 h',
    ]);
  });
});
