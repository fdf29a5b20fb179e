const M = 0x5bd1e995;

/**
 * The partition that Kafka's own clients (and kafkajs's default partitioner) choose for a key.
 * kafkajs computes it with bigints, per message and hundreds of times slower.
 */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}

/** Kafka's 32 bit murmur2, signed. */
export function murmur2(data: Uint8Array): number {
  const { length } = data;
  let hash = 0x9747b28c ^ length;
  let at = 0;
  for (; length - at >= 4; at += 4) {
    let k =
      byte(data, at) | (byte(data, at + 1) << 8) | (byte(data, at + 2) << 16) | (byte(data, at + 3) << 24);
    k = Math.imul(k, M);
    k ^= k >>> 24;
    hash = Math.imul(hash, M) ^ Math.imul(k, M);
  }
  const left = length - at;
  if (left === 3) hash ^= byte(data, at + 2) << 16;
  if (left >= 2) hash ^= byte(data, at + 1) << 8;
  if (left >= 1) hash = Math.imul(hash ^ byte(data, at), M);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, M);
  return hash ^ (hash >>> 15);
}

function byte(data: Uint8Array, at: number): number {
  return data[at] ?? 0;
}
