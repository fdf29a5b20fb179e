/** Wakes everybody who waits. Who looks for work first and then waits tells the count from before the look. */
export class Bell {
  readonly #waiting = new Set<() => void>();
  #rings = 0;

  /** How often it has rung. */
  get rings(): number {
    return this.#rings;
  }

  ring(): void {
    this.#rings += 1;
    for (const wake of this.#waiting) wake();
  }

  /** Resolves once it has rung more often than `rings`, or after so many milliseconds. */
  rung(rings: number, ms = Infinity): Promise<void> {
    return new Promise((resolve) => {
      if (this.#rings > rings) return resolve();
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = ms === Infinity ? undefined : setTimeout(wake, Math.min(ms, LONGEST_TIMER_MS));
      this.#waiting.add(wake);
    });
  }
}

// Beyond it setTimeout fires at once.
const LONGEST_TIMER_MS = 2 ** 31 - 1;
