import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OperatorError } from '../../src/errors.ts';
import {
  earlierOf,
  LOG_START,
  parseLogPosition,
  SEES_NOTHING,
  storedLogPosition,
} from '../../src/flow/log-position.ts';

describe('log position', () => {
  it('is stored and read back exactly, also where numbers would round', () => {
    for (const position of [
      LOG_START,
      {
        acknowledged: '700:705:700,703',
        target: '9007199254740993:9007199254740995:',
        last: 2n ** 63n - 1n,
        proof: { mark: '7713779875786855064/9007199254740993', proved: '700:705:700,703' },
      },
      { acknowledged: '3:3:', target: null, last: 0n, proof: { mark: '/4', proved: '1:1:' } },
      { acknowledged: '3:3:', target: null, last: 0n, proof: null },
    ]) {
      const stored = JSON.parse(JSON.stringify(storedLogPosition(position))) as ReturnType<
        typeof storedLogPosition
      >;
      assert.deepEqual(parseLogPosition(stored, 'employees'), position);
    }
  });

  const good = {
    acknowledged: '700:705:700,703',
    target: null,
    last: '0',
    mark: '7/3',
    proved: '1:1:',
  };
  const refused: readonly (readonly [string, Record<string, string | number | null>])[] = [
    ['nothing at all', {}],
    ['the position of another producer', { tableId: 't', version: 3, groups: 0 }],
    ['no snapshot', { ...good, acknowledged: 'now' }],
    ['a snapshot cut short', { ...good, acknowledged: '700:705' }],
    ['xmin 0', { ...good, acknowledged: '0:705:' }],
    ['xmax before xmin', { ...good, acknowledged: '705:700:' }],
    ['an open transaction from xmax on', { ...good, acknowledged: '700:705:705' }],
    ['an open transaction before xmin', { ...good, acknowledged: '700:705:699' }],
    ['open transactions in no order', { ...good, acknowledged: '700:705:703,701' }],
    ['an open transaction twice', { ...good, acknowledged: '700:705:701,701' }],
    ['a comma too much', { ...good, acknowledged: '700:705:701,' }],
    ['a number of 20 digits', { ...good, acknowledged: '70000000000000000000:70000000000000000000:' }],
    ['a target that is no snapshot', { ...good, target: '' }],
    ['a target that is missing', { acknowledged: good.acknowledged, last: '0' }],
    ['a mark without a number', { ...good, mark: '7/' }],
    ['a mark that proves no snapshot', { ...good, proved: '' }],
    ['a change_id that is a number', { ...good, last: 7 }],
    ['a negative change_id', { ...good, last: '-1' }],
    ['a change_id beyond bigint', { ...good, last: '9223372036854775808' }],
  ];
  for (const [what, stored] of refused)
    it(`refuses ${what}`, () => {
      assert.throws(
        () => parseLogPosition(stored, 'employees'),
        (error) =>
          error instanceof OperatorError &&
          error.code === 'POSITION_UNREADABLE' &&
          /deltaferry backfill employees --from postgres/.test(error.remedy ?? ''),
      );
    });

  it('knows of two snapshots which was taken first', () => {
    const inOrder = [SEES_NOTHING, '7:9:7,8', '7:9:7', '9:9:', '9:100:9,99', '99:100:99', '100:100:'];
    inOrder.forEach((one, n) => {
      for (const other of inOrder.slice(n)) {
        assert.equal(earlierOf(one, other), one);
        assert.equal(earlierOf(other, one), one);
      }
    });
  });
});
