/** At most one holder per name, anywhere. */
export interface Leadership {
  /** Waits until the lease is ours or the signal aborts (then throws the signal's reason). */
  acquire(name: string, signal: AbortSignal): Promise<Lease>;
}

export interface Lease {
  /** Aborts when the lease is lost, with the error as its reason. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}
