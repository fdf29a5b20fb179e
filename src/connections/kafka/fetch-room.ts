import type { PartitionFetch } from './fetch.ts';

/** What records of one partition may take that were fetched at once, bytes. */
const MOST_DECODED = 3 * 1024 * 1024;
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
      if (decoded > MOST_DECODED)
        bytes = Math.max(Math.min(FEWEST, most), Math.floor((bytes * MOST_DECODED) / decoded));
      else if (decoded > 0 && decoded * 2 <= MOST_DECODED) bytes = Math.min(most, bytes * 2);
    },
  };
}

function decodedBytes({ records }: PartitionFetch): number {
  return records.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0), 0);
}
