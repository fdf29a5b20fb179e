/** The deletes that a history remembers for upserts from before them, which may come late. */
export interface RememberedDeletes {
  /**
   * Forgets some of those that were recorded longer ago than this; answers how many, 0 where there are none or a load
   * of the table is under way. Waits for nobody, and is short: whoever applies changes waits for nothing that lasts.
   */
  forget(olderThanMs: number): Promise<number>;
}
