import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PartitionFetch } from '../../../src/connections/kafka/fetch.ts';
import { createFetchRoom } from '../../../src/connections/kafka/fetch-room.ts';

const MEGABYTE = 1024 * 1024;
const MOST = 256 * 1024;

/** What a fetch of so many bytes gives where each byte becomes `growth` of them. */
function part(bytes: number, growth: number): PartitionFetch {
  const value = Buffer.alloc(1000);
  const record = { offset: 0n, key: null, value, timestamp: 0 };
  const records = Array.from({ length: Math.floor((bytes * growth) / value.length) }, () => record);
  return { partition: 0, from: 0n, next: 1n, end: 1n, stable: 1n, records };
}

function after(growths: readonly number[]): { readonly bytes: number; readonly decoded: readonly number[] } {
  const room = createFetchRoom(MOST);
  const decoded = growths.map((growth) => {
    const bytes = room.bytes();
    room.fetched([part(bytes, 1), part(bytes, growth)]);
    return bytes * growth;
  });
  return { bytes: room.bytes(), decoded };
}

const times = (count: number, growth: number): number[] => Array.from({ length: count }, () => growth);

describe('how much of a partition is fetched at once', () => {
  it('is all that is allowed where little comes of it', () => {
    assert.equal(after(times(10, 10)).bytes, MOST);
  });

  it('is less where much comes of it, from the first fetch on', () => {
    for (const growth of [60, 120, 255])
      for (const decoded of after(times(20, growth)).decoded)
        assert.ok(decoded <= 3 * MEGABYTE, `${decoded} bytes at growth ${growth}`);
  });

  it('is right again with the next fetch where that changes', () => {
    const { decoded } = after([...times(10, 10), ...times(10, 255)]);
    for (const bytes of decoded.slice(11)) assert.ok(bytes <= 3 * MEGABYTE, `${bytes} bytes`);
    assert.equal(after([...times(10, 255), ...times(10, 10)]).bytes, MOST);
  });

  it('is never more than what is allowed', () => {
    const room = createFetchRoom(1000);
    room.fetched([part(1000, 1)]);
    assert.equal(room.bytes(), 1000);
    room.fetched([part(1000, 100_000)]);
    assert.equal(room.bytes(), 1000);
  });
});
