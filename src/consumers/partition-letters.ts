import type { PoisonError } from '../errors.ts';
import type { DeadLetter, DeadLetters } from '../ports/dead-letters.ts';
import type { StreamRecord } from '../ports/record-stream.ts';

export interface PartitionLettersOptions {
  readonly topic: string;
  readonly partition: number;
  readonly deadLetters: DeadLetters;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly onDeadLetter: (letter: DeadLetter) => void;
}

/** The dead letters of one partition, each sent once as long as this object lives. */
export class PartitionLetters {
  readonly #options: PartitionLettersOptions;
  /** Sent already, though their offset was not passed: a repetition need not write them again. */
  readonly #sent = new Set<bigint>();

  constructor(options: PartitionLettersOptions) {
    this.#options = options;
  }

  letter(
    { key, value, offset }: Pick<StreamRecord, 'key' | 'value' | 'offset'>,
    error: PoisonError,
  ): DeadLetter {
    const { topic, partition, now } = this.#options;
    return {
      key,
      value,
      errorCode: error.code,
      errorMessage: error.message,
      topic,
      partition,
      offset,
      firstSeen: now() * 1000,
    };
  }

  /** Resolves once they are acknowledged: the offset may pass them then. */
  async send(letters: readonly DeadLetter[]): Promise<void> {
    const unsent = letters.filter(({ offset }) => !this.#sent.has(offset));
    if (unsent.length === 0) return;
    await this.#options.deadLetters.send(unsent);
    for (const letter of unsent) {
      this.#sent.add(letter.offset);
      this.#options.onDeadLetter(letter);
    }
  }

  /** The offset has passed everything before it. */
  passed(offset: bigint): void {
    for (const sent of this.#sent) if (sent < offset) this.#sent.delete(sent);
  }
}
