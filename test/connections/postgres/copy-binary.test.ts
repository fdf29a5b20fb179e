import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { copiedRows } from '../../../src/connections/postgres/copy-binary.ts';
import { BugError } from '../../../src/errors.ts';

type Fields = readonly (string | null)[];

/** What COPY … (FORMAT binary) sends for these rows. */
function copied(rows: readonly Fields[]): Buffer {
  const parts = [Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)];
  for (const fields of rows) {
    const count = Buffer.alloc(2);
    count.writeInt16BE(fields.length);
    parts.push(count);
    for (const field of fields) {
      const bytes = Buffer.from(field ?? '');
      const length = Buffer.alloc(4);
      length.writeInt32BE(field === null ? -1 : bytes.length);
      parts.push(length, bytes);
    }
  }
  parts.push(Buffer.from([0xff, 0xff]));
  return Buffer.concat(parts);
}

function read(chunks: readonly Buffer[], fields: number): { rows: Fields[]; sizes: number[] } {
  const sizes: number[] = [];
  const cut = copiedRows(fields, ({ bytes, bounds, size }) => {
    sizes.push(size);
    return Array.from({ length: fields }, (_, at) =>
      bounds[at * 2]! < 0 ? null : bytes.toString('utf8', bounds[at * 2], bounds[at * 2 + 1]),
    );
  });
  const rows = chunks.flatMap((chunk) => [...cut(chunk)]);
  return { rows, sizes };
}

describe('binary COPY', () => {
  it('gives the same rows wherever the network cuts the stream', () => {
    const field = fc.option(fc.string({ maxLength: 12, unit: 'grapheme' }));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(field, field, field), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 40 }),
        (rows, cuts) => {
          const whole = copied(rows);
          const chunks: Buffer[] = [];
          for (let at = 0, turn = 0; at < whole.length; turn++) {
            const size = cuts[turn % cuts.length]!;
            chunks.push(whole.subarray(at, at + size));
            at += size;
          }
          assert.deepEqual(read(chunks, 3).rows, rows);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('tells the size of each row, and takes a row far larger than a chunk', () => {
    const large = 'x'.repeat(300_000);
    const whole = copied([
      ['a', null],
      [large, ''],
    ]);
    const chunks = Array.from({ length: Math.ceil(whole.length / 8_192) }, (_, n) =>
      whole.subarray(n * 8_192, (n + 1) * 8_192),
    );
    const { rows, sizes } = read(chunks, 2);
    assert.deepEqual(rows, [
      ['a', null],
      [large, ''],
    ]);
    assert.deepEqual(sizes, [11, 300_010]);
  });

  it('refuses rows of another number of fields', () => {
    assert.throws(() => read([copied([['a']])], 2), BugError);
  });
});
