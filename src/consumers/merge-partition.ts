import type { Backoff } from '../flow/backoff.ts';
import type { OwnPartition } from './merge-hand.ts';
import { PartitionLetters, type PartitionLettersOptions } from './partition-letters.ts';
import type { PartitionState } from './partition-state.ts';

export interface MergePartitionOptions extends PartitionLettersOptions {
  readonly low: bigint;
  readonly end: bigint;
  readonly waits: Backoff;
  readonly onState: (state: PartitionState) => void;
}

const RUNNING: PartitionState = { kind: 'running' };

/** A partition that is ours, from one assignment to the next: read and merged side by side, each with its troubles. */
export class MergePartition implements OwnPartition {
  readonly partition: number;
  readonly letters: PartitionLetters;
  readonly low: bigint;
  readonly waits: Backoff;
  /** Where the topic ended when it was last read. */
  end: bigint;
  stored = 0n;
  gone = false;
  readonly #onState: (state: PartitionState) => void;
  #reading: PartitionState | null = null;
  #merging: PartitionState | null = null;
  #shown: PartitionState | null = null;

  constructor(options: MergePartitionOptions) {
    this.partition = options.partition;
    this.letters = new PartitionLetters(options);
    this.low = options.low;
    this.end = options.end;
    this.waits = options.waits;
    this.#onState = options.onState;
  }

  /** Reading fails (why), or works again (null). */
  reading(trouble: PartitionState | null): void {
    this.#reading = trouble;
    this.#show(trouble);
  }

  merging(trouble: PartitionState | null): void {
    this.#merging = trouble;
    this.#show(trouble);
  }

  released(): void {
    if (!this.gone) this.#onState({ kind: 'released' });
  }

  #show(told: PartitionState | null): void {
    if (this.gone) return;
    const state = told ?? this.#reading ?? this.#merging ?? RUNNING;
    // A failure is told each time, for it may be another one; what merely goes on is not.
    if (state === this.#shown) return;
    this.#shown = state;
    this.#onState(state);
  }
}
