import type { PartitionFetch } from './fetch.ts';

/** What records of one partition may take that were fetched at once, bytes; no batch is decoded beyond it. */
export const MOST_DECODED = 3 * 1024 * 1024;
/** So many such parts may be with a handler or wait for it, however many partitions there are. */
export const MOST_PARTS = 8;
/** So much of a topic is never more than half of that: lz4 makes of a byte 255 at most. */
const FEWEST = 4 * 1024;

/** How much of a partition to ask for, as it lies on the topic: what comes of it, once decompressed, is only seen then. */
export interface FetchRoom {
  bytes(): number;
  fetched(parts: readonly PartitionFetch[]): void;
}

/** `most`: however little comes of it. It begins low, and grows as long as there is room. */
export function createFetchRoom(most: number): FetchRoom {
  let bytes = Math.min(FEWEST, most);
  return {
    bytes: () => bytes,
    fetched(parts) {
      const decoded = Math.max(0, ...parts.map(decodedBytes));
      // What was not decoded any more does not tell how much it would have been.
      if (decoded > MOST_DECODED)
        bytes = Math.max(Math.min(FEWEST, most), Math.floor(bytes * Math.min(1 / 2, MOST_DECODED / decoded)));
      else if (decoded > 0 && decoded * 2 <= MOST_DECODED) bytes = Math.min(most, bytes * 2);
    },
  };
}

/** How many more parts each of so many fetches may bring beside what is held; 0: there is no room. */
export function partsBeside(heldBytes: number, fetches: number): number {
  const free = MOST_PARTS - heldBytes / MOST_DECODED;
  return Math.max(0, Math.ceil(free / fetches));
}

export function decodedBytes({ records }: Pick<PartitionFetch, 'records'>): number {
  return records.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0), 0);
}
