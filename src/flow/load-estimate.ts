/** Moving a row into its table, or comparing it there, takes so much of what loading it beside takes (docs/PERFORMANCE.md). */
const HANDOVER_SHARE = 0.5;

/** How long the hand-over of a load should take, by how fast its rows are loaded; null where that is not known. */
export function handoverSeconds(rows: number, appliedPerSecond: number): number | null {
  return appliedPerSecond > 0 ? (HANDOVER_SHARE * rows) / appliedPerSecond : null;
}

export interface LoadPace {
  /** Null: not known. */
  readonly stage: string | null;
  /** Rows that will be in the table. */
  readonly total: number;
  readonly applied: number;
  readonly appliedPerSecond: number;
  readonly compared: number;
  /** How long the hand-over should take; null: not known. */
  readonly handoverSeconds: number | null;
  /** Since the stage began. */
  readonly stageSeconds: number;
}

/** How long it takes until live changes go on, about; at least a second, and null where nothing tells. */
export function secondsLeft(pace: LoadPace): number | null {
  const left = leftOf(pace);
  return left === null ? null : Math.max(1, Math.round(left));
}

function leftOf(pace: LoadPace): number | null {
  const { stage, total, applied, appliedPerSecond, compared, stageSeconds } = pace;
  if (stage === 'loading') {
    const handover = handoverSeconds(total, appliedPerSecond);
    return handover === null ? null : Math.max(0, total - applied) / appliedPerSecond + handover;
  }
  if (stage !== 'handing over') return null;
  const perSecond = comparedPerSecond(pace);
  if (perSecond > 0) return compared < total ? (total - compared) / perSecond : null;
  // One that takes longer than it should has no time left that anybody knows.
  const expected = pace.handoverSeconds;
  return expected !== null && expected > stageSeconds ? expected - stageSeconds : null;
}

/** Since the comparison began. */
export function comparedPerSecond({
  compared,
  stageSeconds,
}: Pick<LoadPace, 'compared' | 'stageSeconds'>): number {
  return stageSeconds > 0 ? compared / stageSeconds : 0;
}
