import { reactionTo } from '../error-policy.ts';
import { backoff, type BackoffOptions } from '../flow/backoff.ts';
import { HeldByLoadError } from '../ports/history-sink.ts';
import { stateAfter, type PartitionState } from './partition-state.ts';

export interface MergeRestOptions {
  readonly retries: BackoffOptions;
  /** How often what a person has to mend is tried again, milliseconds. */
  readonly stoppedRetryMs: number;
}

/** How long merging rests after a failure. */
export interface MergeRest {
  /** In milliseconds; `show` takes what the partitions in hand are to show meanwhile. */
  after(error: unknown, show: (state: PartitionState) => void): number;
  /** Something was merged, though not all that was in hand, perhaps. */
  moved(): void;
  /** All that was in hand is merged. */
  ended(): void;
}

const WAITING: PartitionState = { kind: 'waiting for a load' };
/** How often a merge that waits for a load is tried again. */
const HELD_MS = 500;

export function createMergeRest({ retries, stoppedRetryMs }: MergeRestOptions): MergeRest {
  const waits = backoff(retries);
  /** Fences in a row: the first one goes on at once, more of them wait. */
  let fences = 0;

  return {
    after(error, show) {
      const reaction = reactionTo(error);
      if (error instanceof HeldByLoadError) {
        show(WAITING);
        return HELD_MS;
      }
      switch (reaction) {
        case 'drop':
          // Somebody else moved an offset, and the sink says which; a rebalance will probably follow.
          fences += 1;
          if (fences === 1) return 0;
          show({ kind: 'retrying', error });
          return waits.next();
        case 'retry':
          show({ kind: 'retrying', error });
          return waits.next();
        case 'stop':
        case 'exit':
        // Only reached where no single record can be blamed.
        case 'dead-letter':
          show(stateAfter(error));
          return stoppedRetryMs;
        default:
          return reaction satisfies never;
      }
    },
    moved() {
      fences = 0;
    },
    ended: () => waits.reset(),
  };
}
