import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { duration, loadProgressText } from '../../src/cli/load-progress.ts';
import type { BackfillProgress } from '../../src/service/backfill.ts';

const at = (stage: BackfillProgress['stage'], rows: number): BackfillProgress => ({
  load: 'load-1',
  source: 'delta',
  stage,
  pinned: { tableId: 'table-1', version: 12, ts: 0, rows: 2_000_000 },
  read: rows * 2,
  published: rows,
  rejected: 0,
  applied: rows / 2,
  heldUp: 0,
  backlog: null,
  compared: 0,
});

describe('the progress of a load', () => {
  it('says rows, the rate of each stage over the last seconds, and how long it takes', () => {
    const text = loadProgressText('employees');
    text(at('loading', 0), 0);
    text(at('loading', 100_000), 4_000);
    assert.equal(
      text(at('loading', 1_000_000), 10_000),
      'employees: 500,000 of 2,000,000 rows (25%) · applied 0/s · published 0/s · read 0/s',
      'what is older than the window does not count',
    );
    assert.equal(
      text(at('loading', 1_200_000), 12_000),
      'employees: 600,000 of 2,000,000 rows (30%) · 28 s left · applied 50k/s · published 100k/s · read 200k/s',
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
    assert.match(line.slice(0, 79), /8,500,000 of 20,000,000 rows \(42%\) · 1:55 min left · applied 100k\/s/);
  });

  it('says of a load from the topic, and of what is published, only how far it is applied', () => {
    for (const more of [{ source: 'topic' }, { published: 2_000_000 }] as const) {
      const text = loadProgressText('employees');
      text({ ...at('loading', 0), ...more }, 0);
      assert.equal(
        text({ ...at('loading', 40_000), ...more }, 4_000),
        'employees: 20,000 of 2,000,000 rows (1%) · 6:36 min left · applied 5,000/s',
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
