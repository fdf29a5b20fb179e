import { BugError } from '../errors.ts';
import type { LoadBatch, LoadTable } from '../ports/load.ts';
import type { LoadFiles, LoadStaging } from '../ports/load-into-delta.ts';
import { createLines, type Lines } from './lines.ts';

export interface LoadIntoFilesOptions {
  readonly files: LoadFiles;
  readonly staging: LoadStaging;
  readonly partitions: number;
  /** Rows that may be held, over all partitions; default 400,000. */
  readonly rowsHeld?: number | undefined;
}

/** What goes by one statement into a table that holds rows: a commit of others makes it begin again. */
const FILES_PER_SLICE = 10;
const ROWS_HELD = 400_000;
const BYTES_HELD = 32 * 1024 * 1024;

/** Rows of a partition on their way into its next file. */
interface Filling {
  /** The offset behind what was appended. */
  at: bigint;
  seq: number;
  /** So many of the rows that come are in a file already. */
  toSkip: number;
  readonly lines: Lines;
}

/** Gathers a load's rows in files, one at a time per partition: what is in one that is noted is durable. */
export function createLoadIntoFiles(options: LoadIntoFilesOptions): LoadTable {
  const { files, staging, partitions } = options;
  const most = {
    rows: Math.max(1, Math.floor((options.rowsHeld ?? ROWS_HELD) / partitions)),
    bytes: Math.max(100_000, Math.floor(BYTES_HELD / partitions)),
  };
  let fillings = new Map<number, Filling>();

  function fillingOf({ partition, expected }: LoadBatch): Filling {
    const filling = fillings.get(partition);
    if (filling?.at === expected) return filling;
    throw new BugError({
      code: 'LOAD_BATCH',
      message: `Partition ${partition} is at offset ${filling?.at}, and a batch begins at ${expected}.`,
    });
  }

  async function write(partition: number, filling: Filling, next: bigint, skip: number): Promise<void> {
    const { seq } = filling;
    const rows = filling.lines.count;
    const lines = filling.lines.take();
    filling.seq += 1;
    const slice = Math.floor(seq / FILES_PER_SLICE);
    const path = await staging.put(slice, partition, lines);
    await files.note({ partition, seq, slice, path, rows, place: { next, skip } });
  }

  return {
    async claim() {
      const places = await files.claim();
      fillings = new Map(
        Array.from(places, ([partition, { next, skip, seq }]) => [
          partition,
          { at: next, seq, toSkip: skip, lines: createLines() },
        ]),
      );
      return new Map(Array.from(places, ([partition, { next }]) => [partition, next]));
    },

    async append(batch) {
      const filling = fillingOf(batch);
      const { partition, expected, next, rows } = batch;
      const known = Math.min(filling.toSkip, rows.length);
      filling.toSkip -= known;
      for (let index = known; index < rows.length; index++) {
        filling.lines.add(staging.line(rows[index]!));
        if (filling.lines.count < most.rows && filling.lines.bytes < most.bytes) continue;
        const last = index === rows.length - 1;
        await write(partition, filling, last ? next : expected, last ? 0 : index + 1);
      }
      filling.at = next;
    },

    async rows() {
      const noted = await files.rows();
      // These come once more, and are counted then.
      return noted - [...fillings.values()].reduce((sum, { toSkip }) => sum + toSkip, 0);
    },

    async finish() {
      for (const [partition, filling] of fillings)
        if (filling.lines.count > 0) await write(partition, filling, filling.at, 0);
    },
  };
}
