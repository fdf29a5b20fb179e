import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Row } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { PoisonError } from '../../src/errors.ts';
import { createPairing, type PairingOutcome, type RowImage } from '../../src/flow/pairing.ts';

const people: TableMapping = {
  name: 'people',
  key: ['id'],
  columns: [
    { name: 'id', type: { name: 'bigint' } },
    { name: 'name', type: { name: 'text' } },
    { name: 'height', type: { name: 'double precision' } },
    { name: 'photo', type: { name: 'bytea' } },
  ],
};

const row = (
  id: number | bigint | null,
  name: string | null = 'a',
  height: number | null = null,
  photo: Uint8Array | null = null,
): Row => [id, name, height, photo];
const image = (type: RowImage['type'], of: Row, more: Partial<RowImage> = {}): RowImage => ({
  version: 7,
  type,
  ts: 42,
  row: of,
  invalid: null,
  ...more,
});
const unfit = (values: readonly (string | null)[]): RowImage['invalid'] => ({
  error: new PoisonError({ code: 'VALUE_OUT_OF_RANGE', message: 'column height: too large' }),
  values,
});

function outcomes(images: readonly RowImage[], mapping = people): PairingOutcome[] {
  const pairing = createPairing({ mapping, origin: 'delta' });
  return [...images.map((each) => pairing.add(each)), pairing.end()].filter((each) => each !== null);
}

/** `insert 1 null→a`: what a reader of the topic would see. */
function summary(outcome: PairingOutcome): string {
  switch (outcome.kind) {
    case 'unchanged':
      return 'unchanged';
    case 'rejected':
      return `${outcome.rejection.code} ${outcome.rejection.key}`;
    case 'change': {
      const { op, key, before, after } = outcome.change;
      return `${op} ${key} ${String(before?.[1] ?? null)}→${String(after?.[1] ?? null)}`;
    }
  }
}

const rules: readonly { name: string; images: readonly RowImage[]; expected: readonly string[] }[] = [
  { name: 'an insert', images: [image('insert', row(1))], expected: ['insert 1 null→a'] },
  { name: 'a delete', images: [image('delete', row(1))], expected: ['delete 1 a→null'] },
  {
    name: 'preimage and postimage, in either order, are an update',
    images: [
      image('update_postimage', row(1, 'b')),
      image('update_preimage', row(1, 'a')),
      image('update_preimage', row(2, 'a')),
      image('update_postimage', row(2, 'b')),
    ],
    expected: ['update 1 a→b', 'update 2 a→b'],
  },
  {
    name: 'a delete and an insert of a key are an update',
    images: [image('delete', row(1, 'a')), image('insert', row(1, 'b'))],
    expected: ['update 1 a→b'],
  },
  {
    name: 'an unchanged rewrite is dropped, whatever its form',
    images: [
      image('update_preimage', row(1, 'a', Number.NaN, Buffer.from('x'))),
      image('update_postimage', row(1, 'a', Number.NaN, Buffer.from('x'))),
      image('delete', row(2)),
      image('insert', row(2)),
    ],
    expected: ['unchanged', 'unchanged'],
  },
  {
    name: 'bytes that differ are a change',
    images: [
      image('delete', row(2, 'a', 1, Buffer.from('x'))),
      image('insert', row(2, 'a', 1, Buffer.from('y'))),
    ],
    expected: ['update 2 a→a'],
  },
  {
    name: 'an update of the key itself is a delete and an insert',
    images: [image('update_preimage', row(1, 'a')), image('update_postimage', row(2, 'a'))],
    expected: ['delete 1 a→null', 'insert 2 null→a'],
  },
  {
    name: 'keys that move along: each is updated to what moved in',
    images: [
      image('update_preimage', row(1, 'a')),
      image('update_postimage', row(2, 'a')),
      image('update_preimage', row(2, 'b')),
      image('update_postimage', row(3, 'b')),
    ],
    expected: ['delete 1 a→null', 'update 2 b→a', 'insert 3 null→b'],
  },
  {
    name: 'two new rows of a key are rejected',
    images: [image('insert', row(1, 'a')), image('insert', row(1, 'b')), image('insert', row(2))],
    expected: ['DUPLICATE_KEY 1', 'insert 2 null→a'],
  },
  {
    name: 'two postimages of a key are rejected',
    images: [
      image('update_preimage', row(1)),
      image('update_postimage', row(1, 'b')),
      image('update_preimage', row(1)),
      image('update_postimage', row(1, 'c')),
    ],
    expected: ['DUPLICATE_KEY 1'],
  },
  {
    name: 'the repair of a duplicate goes through: what is there now is plain',
    images: [
      image('delete', row(1, 'a')),
      image('delete', row(1, 'b')),
      image('insert', row(1, 'c')),
      image('delete', row(2)),
      image('delete', row(2)),
      image('delete', row(3, 'a')),
      image('delete', row(3, 'b')),
      image('insert', row(3, 'b')),
    ],
    expected: ['update 1 null→c', 'delete 2 null→null', 'update 3 null→b'],
  },
  {
    name: 'the end of one copy is the end of the key: what is left of it is not in the feed',
    images: [image('delete', row(1, 'a'))],
    expected: ['delete 1 a→null'],
  },
  {
    name: 'a null key is rejected, each apart from its neighbours',
    images: [image('insert', row(null, 'x')), image('insert', row(1))],
    expected: ['KEY_MISSING ', 'insert 1 null→a'],
  },
  {
    name: 'a new value that does not fit is rejected, the neighbours go on',
    images: [
      image('insert', row(1)),
      image('insert', row(2), { invalid: unfit(['2', 'a', '1e999', null]) }),
      image('insert', row(3)),
    ],
    expected: ['insert 1 null→a', 'VALUE_OUT_OF_RANGE 2', 'insert 3 null→a'],
  },
  {
    name: 'mending a value that did not fit is published',
    images: [
      image('update_preimage', row(2), { invalid: unfit(['2', 'a', '1e999', null]) }),
      image('update_postimage', row(2, 'b')),
    ],
    expected: ['update 2 null→b'],
  },
  {
    name: 'a rewrite of a value that did not fit is not rejected again',
    images: [
      image('delete', row(2), { invalid: unfit(['2', 'a', '1e999', null]) }),
      image('insert', row(2), { invalid: unfit(['2', 'a', '1e999', null]) }),
    ],
    expected: ['unchanged'],
  },
  {
    name: 'versions never mix',
    images: [image('delete', row(1, 'a')), image('insert', row(1, 'b'), { version: 8 })],
    expected: ['delete 1 a→null', 'insert 1 null→b'],
  },
];

describe('pairing (Delta capture: pre and postimage by key)', () => {
  for (const { name, images, expected } of rules)
    it(name, () => assert.deepEqual(outcomes(images).map(summary), expected));

  it('a change carries origin, version and commit time', () => {
    const [outcome] = outcomes([image('insert', row(9_007_199_254_740_993n), { ts: 1_700_000_000_000_001 })]);
    assert.deepEqual(outcome, {
      version: 7,
      kind: 'change',
      change: {
        op: 'insert',
        key: '9007199254740993',
        before: null,
        after: row(9_007_199_254_740_993n),
        origin: 'delta',
        table: 'people',
        position: 7,
        ts: 1_700_000_000_000_001,
        tx: null,
        load: null,
      },
    });
  });

  it('a rejection shows the key and its rows, exactly', () => {
    const first = row(9_007_199_254_740_993n, 'a', -0, Buffer.from([0, 255]));
    const [outcome] = outcomes([image('insert', first), image('insert', row(9_007_199_254_740_993n, 'b'))]);
    assert.equal(outcome?.kind, 'rejected');
    assert.ok(outcome?.kind === 'rejected');
    assert.equal(outcome.rejection.key, '9007199254740993');
    assert.deepEqual(JSON.parse(outcome.rejection.payload), {
      version: 7,
      count: 2,
      rows: [
        { type: 'insert', id: '9007199254740993', name: 'a', height: '-0', photo: '00ff' },
        { type: 'insert', id: '9007199254740993', name: 'b', height: null, photo: null },
      ],
    });
  });

  it('a key with a million rows does not fill the memory', () => {
    const pairing = createPairing({ mapping: people, origin: 'delta' });
    for (let count = 0; count < 1_000_000; count++) assert.equal(pairing.add(image('insert', row(1))), null);
    const outcome = pairing.end();
    assert.ok(outcome?.kind === 'rejected');
    assert.equal(
      (JSON.parse(outcome.rejection.payload) as { count: number; rows: unknown[] }).count,
      1_000_000,
    );
    assert.ok(outcome.rejection.payload.length < 5_000);
  });

  it('equals the difference of the states before and after, however the commit was written', () => {
    // What loses if this fails: a row in Postgres that differs from Delta after an ordinary MERGE or OVERWRITE.
    const name = fc.constantFrom('a', 'b', 'c');
    const state = fc.dictionary(fc.integer({ min: 1, max: 6 }).map(String), name);
    const styles = fc.array(fc.boolean(), { minLength: 7, maxLength: 7 });
    fc.assert(
      fc.property(state, state, styles, styles, (before, after, asUpdate, rewritten) => {
        const images = [1, 2, 3, 4, 5, 6].flatMap((id) => {
          const old = before[id];
          const now = after[id];
          if (old === now && (old === undefined || rewritten[id] !== true)) return [];
          const pair = asUpdate[id] === true && old !== undefined && now !== undefined;
          return [
            ...(old === undefined ? [] : [image(pair ? 'update_preimage' : 'delete', row(id, old))]),
            ...(now === undefined ? [] : [image(pair ? 'update_postimage' : 'insert', row(id, now))]),
          ];
        });
        const expected = [1, 2, 3, 4, 5, 6].flatMap((id) => {
          const old = before[id];
          const now = after[id];
          if (old === now) return [];
          const op = old === undefined ? 'insert' : now === undefined ? 'delete' : 'update';
          return [`${op} ${id} ${old ?? null}→${now ?? null}`];
        });
        const changes = outcomes(images)
          .map(summary)
          .filter((each) => each !== 'unchanged');
        assert.deepEqual(changes, expected);
      }),
      { numRuns: 2_000 },
    );
  });
});
