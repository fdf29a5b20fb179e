/** A record that was taken out of the stream, with everything a person needs to understand it. */
export interface DeadLetter {
  /** Bytes as they were read; null where the record had none. */
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly errorCode: string;
  readonly errorMessage: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** When the sink first saw it, microseconds. */
  readonly firstSeen: number;
}

export interface DeadLetters {
  /** Resolves once the broker has acknowledged every one of them. */
  send(letters: readonly DeadLetter[]): Promise<void>;
}
