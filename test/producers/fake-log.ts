import type { Change } from '../../src/change/change.ts';
import { FencedError } from '../../src/errors.ts';
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

/** One lease per name, in the order of asking. */
export class FakeLeadership {
  private readonly holders = new Map<string, Promise<void>>();
  readonly held: AbortController[] = [];

  port(): Leadership {
    return {
      acquire: async (name, signal) => {
        while (this.holders.has(name)) {
          await Promise.race([this.holders.get(name), tick()]);
          signal.throwIfAborted();
        }
        let free = (): void => {};
        this.holders.set(name, new Promise<void>((resolve) => (free = resolve)));
        const lost = new AbortController();
        this.held.push(lost);
        const release = (): void => {
          this.holders.delete(name);
          free();
        };
        lost.signal.addEventListener('abort', release, { once: true });
        return {
          lost: lost.signal,
          release: async () => {
            if (!lost.signal.aborted) release();
          },
        };
      },
    };
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
