import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { earlierChange } from '../../src/consumers/earlier-changes.ts';
import type { LoadRecords } from '../../src/ports/load.ts';
import { change, EMPLOYEES, record, schemas, type RecordKind } from './fakes.ts';

/** What is on the topic, by partition; the time of a record follows from its offset. */
const TOPIC: readonly (readonly RecordKind[])[] = [
  ['good', 'own', 'good', 'garbage', 'good'],
  ['good', 'good', 'no key', 'good', 'good', 'own'],
];

const records: LoadRecords = {
  async read({ from, end, handle }) {
    for (const [partition, first] of from) {
      const next = end(partition) ?? 0n;
      const found = (TOPIC[partition] ?? []).map((kind, offset) =>
        record(kind, partition * 100 + offset, offset),
      );
      await handle({ partition, from: first, next, records: found.slice(Number(first), Number(next)) });
    }
  },
};

const asked = (
  liveOffsets: readonly bigint[],
  offsetOfTime: number,
  { origin = 'delta', target = 'replica' } = {},
): Promise<string | null> =>
  earlierChange(
    {
      topic: 'employees_changes',
      mapping: EMPLOYEES,
      target,
      records,
      schemas,
      ends: async () => TOPIC.map(({ length }) => BigInt(length)),
    },
    // `own` is made by Postgres, all others by Delta.
    { origin, ts: change(1, offsetOfTime).ts, liveOffsets },
    new AbortController().signal,
  );

describe('a change that a load cannot be put in order with', () => {
  it('is one of another origin, behind the offset, at the time or before it', async () => {
    assert.equal(await asked([0n, 0n], 0), null, 'those of others are later');
    assert.equal(await asked([0n, 0n], 1), '1', 'at the time');
    assert.equal(await asked([1n, 0n], 4), '1', 'before it');
    assert.equal(await asked([2n, 0n], 4), null, 'the load has it, and the other is later');
    assert.equal(await asked([2n, 0n], 5), '105');
    assert.equal(await asked([2n, 6n], 5), null);
  });

  it('is none of the target’s own: those it does not take from the topic', async () => {
    const others = { origin: 'warehouse' };
    assert.equal(await asked([0n, 0n], 0, others), '0');
    assert.equal(await asked([0n, 6n], 9, { ...others, target: 'delta' }), '1', 'the one of Postgres');
    assert.equal(await asked([2n, 6n], 9, { ...others, target: 'delta' }), null);
  });
});
