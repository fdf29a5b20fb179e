import type { Change } from '../../src/change/change.ts';
import { FencedError, TransientError } from '../../src/errors.ts';
import type { ChangeLog, Position, PublishBatch, RejectedChange } from '../../src/ports/change-log.ts';
import type { Leadership } from '../../src/ports/leadership.ts';

/** What the broker holds: shared by every process that opens the log. */
export class FakeTopic {
  readonly changes: Change[] = [];
  readonly rejected: RejectedChange[] = [];
  readonly transactions: PublishBatch[] = [];
  position: Position | null = null;
  private epoch = 0;

  /** One process's end of it. */
  log(): ChangeLog {
    let mine = -1;
    return {
      open: async () => {
        mine = ++this.epoch;
        return this.position;
      },
      publish: async (batch) => {
        await tick();
        if (mine !== this.epoch)
          throw new FencedError({ code: 'FENCED', message: 'a newer producer is open' });
        this.changes.push(...batch.changes);
        this.rejected.push(...batch.rejected);
        this.transactions.push(batch);
        this.position = batch.position;
      },
      close: async () => {},
    };
  }
}

/** One lease per name, as between processes that ask again and again. */
export class FakeLeadership {
  private readonly holders = new Map<string, AbortController>();

  /** The leases of one process. */
  port(): Leadership {
    return {
      acquire: async (name, signal) => {
        do {
          await tick();
          signal.throwIfAborted();
        } while (this.holders.has(name));
        const lost = new AbortController();
        this.holders.set(name, lost);
        return {
          lost: lost.signal,
          release: async () => {
            if (this.holders.get(name) === lost) this.holders.delete(name);
          },
        };
      },
    };
  }

  /** Whoever holds it loses it, as when a connection breaks. */
  take(name: string): void {
    const lost = this.holders.get(name);
    this.holders.delete(name);
    lost?.abort(new TransientError({ code: 'LEASE_LOST', message: 'the connection broke' }));
  }
}

/** Lets everything else that is ready run first. */
export function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits for a condition, not for a time. */
export async function until(condition: () => boolean, what: string, deadlineMs = 10_000): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Not within ${deadlineMs} ms: ${what}`);
    await tick();
  }
}
