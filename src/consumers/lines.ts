const SLAB_BYTES = 256 * 1024;
const MOST_UTF8_BYTES = 3;

/** Lines on their way into a file, as UTF-8 outside of the heap: as strings they would take twice the room. */
export interface Lines {
  readonly count: number;
  readonly bytes: number;
  add(line: string): void;
  /** All of them, each with its end; none is left. */
  take(): readonly Uint8Array[];
}

export function createLines(): Lines {
  let full: Buffer[] = [];
  let slab = Buffer.alloc(0);
  let at = 0;
  let count = 0;
  let bytes = 0;

  function close(): void {
    if (at > 0) full.push(slab.subarray(0, at));
    slab = Buffer.alloc(0);
    at = 0;
  }

  return {
    get count() {
      return count;
    },
    get bytes() {
      return bytes;
    },
    add(line) {
      let most = line.length * MOST_UTF8_BYTES + 1;
      // Of a long line it is worth knowing: what it does not take of a slab is lost.
      if (most > SLAB_BYTES / 16) most = Buffer.byteLength(line) + 1;
      if (slab.length - at < most) {
        close();
        slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, most));
      }
      const before = at;
      at += slab.write(line, at);
      slab[at++] = 0x0a;
      count += 1;
      bytes += at - before;
    },
    take() {
      close();
      const taken = full;
      full = [];
      count = 0;
      bytes = 0;
      return taken;
    },
  };
}
