import { handoverSeconds } from '../flow/load-estimate.ts';
import type { LoadNote } from '../ports/load.ts';
import type { BackfillDeps, BackfillProgress } from './backfill-deps.ts';
import { noting } from './noting.ts';

/** The same, with how far the load is noted beside it, for whoever looks from elsewhere. */
export function withNotes(deps: BackfillDeps, now: () => number = () => performance.now()): BackfillDeps {
  const { loads, handover } = deps;
  const notes = noting<BackfillProgress>((progress) => loads.note(progress.load, progress));
  const paceOf = loadingPace(now);
  let noted: LoadNote | null = null;
  let expected: number | null = null;

  return {
    ...deps,
    onProgress(told) {
      const pace = paceOf(told);
      if (told.stage !== 'handing over') expected = null;
      else if (noted?.stage !== told.stage) expected = handoverSeconds(rowsOf(told), pace);
      const progress = { ...told, handoverSeconds: expected };
      deps.onProgress(progress);
      // How much is published and applied is noted where that happens; and nobody is to say that it is done before it is.
      if (told.stage === 'done' || isSame(noted, progress)) return;
      noted = progress;
      notes.note(progress);
    },
    handover: {
      async fill(load) {
        // It keeps the load's row to itself from its beginning to its end.
        await notes.end();
        await handover.fill(load);
      },
      async reconcile(load, onDone, signal) {
        await notes.end();
        return await handover.reconcile(load, onDone, signal);
      },
    },
  };
}

/** Rows per second since loading began in this process; 0: not known. */
function loadingPace(now: () => number): (progress: BackfillProgress) => number {
  let first: { readonly at: number; readonly applied: number } | null = null;
  let pace = 0;
  return ({ stage, applied }) => {
    if (stage !== 'loading') {
      if (stage !== 'handing over' && stage !== 'catching up') first = null;
      return pace;
    }
    const at = now();
    // A crash of the server has emptied what was loaded.
    if (first === null || applied < first.applied) first = { at, applied };
    pace = at > first.at ? ((applied - first.applied) / (at - first.at)) * 1000 : 0;
    return pace;
  };
}

const rowsOf = ({ pinned, rejected }: BackfillProgress): number =>
  Math.max(0, (pinned?.rows ?? 0) - rejected);

function isSame(one: LoadNote | null, other: LoadNote): boolean {
  return (
    one !== null &&
    one.stage === other.stage &&
    one.read === other.read &&
    one.compared === other.compared &&
    one.heldUp === other.heldUp
  );
}
