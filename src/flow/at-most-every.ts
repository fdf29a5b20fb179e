/**
 * Passes on the newest value, at most so often: the first at once, and what comes sooner than that when it is time.
 * The last is never kept back for want of another: somebody may wait for it before he sends more.
 */
export function atMostEvery<T>(
  ms: number,
  pass: (newest: T) => void,
): {
  tell(value: T): void;
  /** Passes on at once what still waits. */
  end(): void;
} {
  let waiting: { readonly value: T } | null = null;
  let timer: NodeJS.Timeout | null = null;

  function due(): void {
    timer = null;
    if (waiting === null) return;
    const { value } = waiting;
    waiting = null;
    timer = setTimeout(due, ms);
    pass(value);
  }

  return {
    tell(value) {
      waiting = { value };
      if (timer === null) due();
    },
    end() {
      if (timer !== null) clearTimeout(timer);
      due();
      if (timer !== null) clearTimeout(timer);
      timer = null;
    },
  };
}
