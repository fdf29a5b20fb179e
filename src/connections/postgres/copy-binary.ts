import { BugError } from '../../errors.ts';

/** One row: the bytes it lies in, and where each field begins and ends there (`-1, -1` for null). */
export interface CopiedRow {
  readonly bytes: Buffer;
  /** start, end of field 0, start, end of field 1, …; reused from row to row. */
  readonly bounds: Int32Array;
  /** Bytes of the whole row. */
  readonly size: number;
}

const SIGNATURE_BYTES = 11;
const HEADER_BYTES = SIGNATURE_BYTES + 8;
const END = -1;

/**
 * Cuts what `COPY … TO STDOUT (FORMAT binary)` sends into rows of `fields` fields and reads them: chunks come
 * as the network cuts them. Each call gives the rows that are complete; what remains waits for the next.
 */
export function copiedRows<T>(
  fields: number,
  read: (row: CopiedRow) => T,
): (chunk: Buffer) => Generator<T, void, undefined> {
  const bounds = new Int32Array(fields * 2);
  let rest: Buffer[] = [];
  let size = 0;
  /** So many bytes are needed at least before another look is worth it: a large row comes in many chunks. */
  let needed = HEADER_BYTES;
  let headed = false;

  /** Where the row at `at` ends; null, and `needed` set, where more bytes have to come first. */
  function rowEnd(bytes: Buffer, at: number): number | null {
    let end = at + 2;
    for (let field = 0; field < fields; field++) {
      if (end + 4 > bytes.length) return wait(end + 4 - at);
      const length = bytes.readInt32BE(end);
      end += 4;
      bounds[field * 2] = length < 0 ? -1 : end;
      bounds[field * 2 + 1] = length < 0 ? -1 : end + length;
      if (length > 0) end += length;
      if (end > bytes.length) return wait(end - at);
    }
    return end;
  }

  function wait(bytes: number): null {
    needed = bytes;
    return null;
  }

  return function* rows(chunk) {
    rest.push(chunk);
    size += chunk.length;
    if (size < needed) return;
    const bytes = rest.length === 1 ? chunk : Buffer.concat(rest, size);
    let at = 0;
    if (!headed) {
      // The header ends with the length of an extension, which nobody uses yet.
      at = HEADER_BYTES + bytes.readInt32BE(SIGNATURE_BYTES + 4);
      headed = true;
    }
    for (;;) {
      if (bytes.length - at < 2) {
        wait(2);
        break;
      }
      const count = bytes.readInt16BE(at);
      if (count === END) {
        at = bytes.length;
        break;
      }
      if (count !== fields)
        throw new BugError({
          code: 'COPY_FORMAT',
          message: `COPY sent ${count} fields, expected ${fields}.`,
        });
      const end = rowEnd(bytes, at);
      if (end === null) break;
      const size = end - at;
      at = end;
      yield read({ bytes, bounds, size });
    }
    rest = at < bytes.length ? [bytes.subarray(at)] : [];
    size = bytes.length - at;
  };
}
