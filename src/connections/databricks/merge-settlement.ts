import type { LedgerState, MergeTurn } from '../../ports/merge-ledger.ts';
import type { EpochFence } from './merge-epoch.ts';
import type { MergeHistory } from './merge-history.ts';
import type { Staging } from './staging.ts';

/** What a merge has to know of those before it: who finds one pending makes sure how it ended. */
export interface MergeSettlement {
  /** What others left, taken care of. Afterwards nothing is pending and the ledger knows every merge that landed. */
  settled(turn: MergeTurn, signal?: AbortSignal): Promise<LedgerState>;
  isSettled(state: LedgerState): boolean;
  /** The epoch was another than expected: the table is asked again. */
  doubt(): void;
}

export function createMergeSettlement({
  fence,
  history,
  staging,
}: {
  readonly fence: EpochFence;
  readonly history: MergeHistory;
  readonly staging: Staging | null;
}): MergeSettlement {
  /** Whether the ledger was compared with the table since this process began, or since an epoch surprised it. */
  let compared = false;

  const isSettled = ({ pending }: LedgerState): boolean => compared && pending === null;

  async function settled(turn: MergeTurn, signal?: AbortSignal): Promise<LedgerState> {
    const before = await turn.state();
    if (isSettled(before)) return before;
    const epoch =
      before.pending === null ? await agreedEpoch(before, signal) : await closed(before.epoch, signal);
    await turn.raise(await history.unknownTo(before, signal));
    // The ledger's epoch says that all merges of older ones count already: not before they do, since
    // whoever goes on after a crash in between looks no further back.
    if (epoch > before.epoch) await turn.advance(epoch);
    if (before.pending !== null) await turn.forget(before.pending.mark);
    const now = await turn.state();
    // What is left over costs room and nothing else; the next process tries again.
    await staging?.sweep(now.offsets, signal).catch(() => {});
    compared = true;
    return now;
  }

  /** The two differ once the control schema was restored or reset, or the table of epochs made anew. */
  async function agreedEpoch({ epoch }: LedgerState, signal?: AbortSignal): Promise<bigint> {
    const inDelta = await fence.read(signal);
    if (inDelta === epoch) return epoch;
    if (inDelta !== null || epoch > 0n)
      return closed(inDelta !== null && inDelta > epoch ? inDelta : epoch, signal);
    await fence.set(epoch, signal);
    return epoch;
  }

  /** Ends this epoch and older ones; answers the one that follows. */
  async function closed(epoch: bigint, signal?: AbortSignal): Promise<bigint> {
    await fence.close(epoch + 1n, signal);
    return epoch + 1n;
  }

  return {
    settled,
    isSettled,
    doubt() {
      compared = false;
    },
  };
}
