export interface Isolation {
  /** How many items there are. */
  readonly count: number;
  /** Does items `from`..`to` (excluded) as one unit, all or nothing. */
  attempt(from: number, to: number): Promise<void>;
  /** Whether this failure can be the fault of a single item. */
  isBad(error: unknown): boolean;
  /** Takes the item out and moves past it. */
  setAside(index: number, error: unknown): Promise<void>;
}

/**
 * Does all items in order, in units as large as the bad ones among them allow: a unit that fails is
 * halved until the bad item stands alone, about 2·log2(n) attempts for each. Other failures are
 * thrown as they come; what was done before stays done.
 */
export async function isolate(work: Isolation, from = 0, to = work.count): Promise<void> {
  try {
    await work.attempt(from, to);
  } catch (error) {
    if (!work.isBad(error) || from === to) throw error;
    if (to - from === 1) return work.setAside(from, error);
    const middle = from + Math.floor((to - from) / 2);
    await isolate(work, from, middle);
    await isolate(work, middle, to);
  }
}
