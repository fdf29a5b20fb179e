import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { splitRange, versionRanges } from '../../src/flow/version-ranges.ts';

describe('version ranges', () => {
  it('cuts where the maker changes and where a range grows too long', () => {
    const ranges = versionRanges({
      from: 3,
      to: 12,
      isOwn: (version) => version === 5 || version >= 11,
      longest: 3,
    });
    assert.deepEqual(
      ranges.map(({ from, to, own }) => `${own ? 'own' : 'read'} ${from}-${to}`),
      ['read 3-4', 'own 5-5', 'read 6-8', 'read 9-10', 'own 11-12'],
    );
    assert.deepEqual(versionRanges({ from: 3, to: 2, isOwn: () => false, longest: 3 }), []);
  });

  it('covers every version once, in order, and never mixes makers', () => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { maxLength: 40 }),
        fc.integer({ min: 1, max: 7 }),
        (own, longest) => {
          const ranges = versionRanges({
            from: 10,
            to: 9 + own.length,
            isOwn: (version) => own[version - 10] === true,
            longest,
          });
          const covered = ranges.flatMap((range) =>
            own.slice(range.from - 10, range.to - 9).map((each) => each === range.own),
          );
          assert.deepEqual(
            covered,
            own.map(() => true),
          );
          assert.ok(ranges.every((range) => range.own || range.to - range.from < longest));
        },
      ),
    );
  });

  it('splits at the named version, else after the first; a single version cannot be split', () => {
    assert.deepEqual(splitRange(2, 9, 5), [
      [2, 4],
      [5, 9],
    ]);
    assert.deepEqual(splitRange(2, 9, 2), [
      [2, 2],
      [3, 9],
    ]);
    assert.deepEqual(splitRange(2, 9, 30), [
      [2, 2],
      [3, 9],
    ]);
    assert.deepEqual(splitRange(2, 9, null), [
      [2, 2],
      [3, 9],
    ]);
    assert.equal(splitRange(4, 4, 4), null);
  });
});
