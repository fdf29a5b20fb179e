export const larger = (one: bigint, other: bigint): bigint => (one > other ? one : other);

/** Where a group goes on in a partition: with what the topic still has, where it has committed nothing. */
export function nextOffset(
  committed: ReadonlyMap<number, bigint>,
  low: readonly bigint[],
  partition: number,
): bigint {
  return committed.get(partition) ?? low[partition] ?? 0n;
}
