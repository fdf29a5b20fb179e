import type { FeedBatch } from '../flow/feed-batch.ts';
import type { ChangeLog } from '../ports/change-log.ts';
import type { Published } from './delta-feed-deps.ts';

/** Sends batches in order, one at a time, while the next one is being read. */
export interface Publisher {
  /** Waits for the batch before, then sends this one and returns; throws the failure of the one before. */
  send(batch: FeedBatch): Promise<void>;
  /** Throws what has failed since. */
  check(): void;
  /** The transaction in hand has ended, one way or the other. */
  settled(): Promise<void>;
}

export function createPublisher(
  log: ChangeLog,
  startVersion: number,
  onPublished: ((published: Published) => void) | undefined,
): Publisher {
  let inHand: Promise<void> = Promise.resolve();
  let failure: { readonly error: unknown } | null = null;
  let version = startVersion;

  function check(): void {
    if (failure !== null) throw failure.error;
  }

  async function publish(batch: FeedBatch): Promise<void> {
    try {
      await log.publish({ ...batch, position: { ...batch.position } });
    } catch (error) {
      failure = { error };
      return;
    }
    const lastVersion = batch.position.version;
    const versions = lastVersion - version;
    version = lastVersion;
    onPublished?.({
      changes: batch.changes.length,
      rejected: batch.rejected.length,
      versions,
      lastVersion,
      ts: batch.changes.at(-1)?.ts ?? null,
    });
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
