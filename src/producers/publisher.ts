/** Sends batches in order, one at a time, while the next one is being read. */
export interface Publisher<B> {
  /** Waits for the batch before, then sends this one and returns; throws the failure of the one before. */
  send(batch: B): Promise<void>;
  /** Throws what has failed since. */
  check(): void;
  /** The transaction in hand has ended, one way or the other. */
  settled(): Promise<void>;
}

/** `transaction` resolves once the batch is durable; it is never called again after it has failed. */
export function createPublisher<B>(
  transaction: (batch: B) => Promise<void>,
  onPublished: (batch: B) => void,
): Publisher<B> {
  let inHand: Promise<void> = Promise.resolve();
  let failure: { readonly error: unknown } | null = null;

  function check(): void {
    if (failure !== null) throw failure.error;
  }

  async function publish(batch: B): Promise<void> {
    try {
      await transaction(batch);
    } catch (error) {
      failure = { error };
      return;
    }
    onPublished(batch);
  }

  return {
    async send(batch) {
      await inHand;
      check();
      inHand = publish(batch);
    },
    check,
    settled: () => inHand,
  };
}
