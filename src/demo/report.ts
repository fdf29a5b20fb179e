/** Where the demo says what it does; the command line decides how it looks. */
export interface DemoReport {
  /** A line that stays. */
  line(text: string): void;
  /** The state of long work, replaced by the next one. */
  progress(text: string): void;
}

/** Latencies of single changes, kept exactly: a demo has few thousand. */
export class Latencies {
  readonly #millis: number[] = [];

  add(millis: number): void {
    this.#millis.push(millis);
  }

  /** For instance `p50 310 ms, p99 1,204 ms`; empty when nothing was measured. */
  summary(): string {
    if (this.#millis.length === 0) return '';
    const ordered = this.#millis.toSorted((a, b) => a - b);
    const at = (p: number) => Math.round(ordered[Math.ceil(p * ordered.length) - 1]!).toLocaleString('en');
    return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`;
  }
}

export function count(n: number, noun: string): string {
  return `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
}

/** Since a moment of `performance.now()`. */
export function secondsSince(began: number): string {
  return `${((performance.now() - began) / 1000).toFixed(1)} s`;
}
