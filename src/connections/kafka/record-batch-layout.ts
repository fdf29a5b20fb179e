/**
 * Where a record batch of version 2 has what, in bytes from its beginning.
 * https://kafka.apache.org/documentation/#recordbatch
 */
export const AT = {
  firstOffset: 0,
  length: 8,
  leaderEpoch: 12,
  magic: 16,
  checksum: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  firstTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  firstSequence: 53,
  count: 57,
  records: 61,
} as const;

/** Bits of the attributes; those of the compression are its number. */
export const ATTRIBUTES = { compression: 7, appendTime: 8, inTransaction: 16, control: 32 } as const;

/** What its length does not count: the offset, and the length itself. */
export const BEFORE_LENGTH_BYTES = 12;

/** The version of the layout. */
export const MAGIC = 2;
