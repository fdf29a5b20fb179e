/** Runs `work` while holding the lock file; waits for a living owner, takes over from a dead one. */
export function withLock<T>(
  file: string,
  onWait: (ownerPid: number) => void,
  work: () => Promise<T>,
): Promise<T>;
