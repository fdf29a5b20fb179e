import { nextOffset } from '../flow/next-offset.ts';
import { sleep } from '../flow/sleep.ts';
import type { CapturedWay, Load, Loads, LoadTopics, OthersWay, PinnedVersion } from '../ports/load.ts';
import type { Snapshot } from '../ports/postgres-log.ts';
import { trying, type Backlog } from './backfill-deps.ts';

export interface LoadCatchUpDeps {
  readonly loads: Pick<Loads, 'consumers'>;
  readonly topics: Pick<LoadTopics, 'changesLow' | 'changesEnds' | 'changesBetween' | 'feedVersion'>;
  readonly onRetry: (error: unknown) => void;
  readonly random?: (() => number) | undefined;
}

const ASK_AGAIN_MS = 300;
/** Offsets that are worth looking at: there may be no change in them. */
const CLOSE = 1000n;

/**
 * Waits until the table has every change up to the version: the feed has published them, and the consumers have
 * applied what it had published then. What differs from the load after that is what no change tells.
 */
export async function caughtUp(
  deps: LoadCatchUpDeps,
  { tableId, version }: PinnedVersion,
  signal: AbortSignal,
): Promise<void> {
  const { loads, topics } = deps;
  const asking = (question: () => Promise<boolean>): Promise<void> => askingUntil(deps, signal, question);

  await asking(async () => ((await topics.feedVersion(tableId)) ?? -1) >= version);
  const ends = await trying(deps, signal, () => topics.changesEnds());
  await asking(async () => {
    const at = await loads.consumers();
    return at.size === ends.length && (await hasPassed(topics, at, ends, signal));
  });
}

/**
 * Waits until Delta has everything that people have changed in the captured table up to now; resolves to that
 * position. The version that is chosen after that has it too.
 */
export async function mergedByNow(
  deps: Omit<LoadCatchUpDeps, 'loads'> & { readonly captured: CapturedWay },
  load: string,
  onBacklog: (backlog: Backlog) => void,
  signal: AbortSignal,
): Promise<Snapshot> {
  const { topics, captured } = deps;
  const position = await trying(deps, signal, () => captured.logPosition(load));
  await askingUntil(deps, signal, async () => {
    const { rows, atLeast } = await captured.unpublished(position);
    onBacklog({ role: 'postgres-log', behind: rows, atLeast });
    return rows === 0;
  });
  const ends = await trying(deps, signal, () => topics.changesEnds());
  const low = await trying(deps, signal, () => topics.changesLow());
  await askingUntil(deps, signal, async () => {
    const merged = await captured.merged();
    const at = new Map(ends.map((_, partition) => [partition, nextOffset(merged, low, partition)]));
    const behind = ends.reduce((sum, end, partition) => {
      const left = end - (at.get(partition) ?? 0n);
      return left > 0n ? sum + left : sum;
    }, 0n);
    onBacklog({ role: 'delta-merge', behind: Number(behind), atLeast: false });
    return await hasPassed(topics, at, ends, signal);
  });
  return position;
}

/**
 * Per partition of the changes topic: what a version of Delta that is chosen after this does not hold is there, or
 * behind it. What people have changed in Postgres, in a captured target or elsewhere, is in Delta once it is merged.
 */
export async function liveOffsetsNow(
  { captured, others }: { readonly captured: CapturedWay | null; readonly others?: OthersWay | undefined },
  { source }: Pick<Load, 'source'>,
  topics: Pick<LoadTopics, 'changesLow' | 'changesEnds'>,
): Promise<readonly bigint[]> {
  const ends = await topics.changesEnds();
  const merged = source === 'delta' ? await (captured ?? others)?.merged() : null;
  if (merged === null || merged === undefined) return ends;
  const low = await topics.changesLow();
  return ends.map((end, partition) => {
    const next = nextOffset(merged, low, partition);
    return next < end ? next : end;
  });
}

/** Whether no change lies between where a group of consumers is and these ends. */
async function hasPassed(
  topics: Pick<LoadTopics, 'changesBetween'>,
  at: ReadonlyMap<number, bigint>,
  ends: readonly bigint[],
  signal: AbortSignal,
): Promise<boolean> {
  const behind = new Map([...at].filter(([partition, next]) => next < (ends[partition] ?? 0n)));
  if ([...behind].some(([partition, next]) => (ends[partition] ?? 0n) - next > CLOSE)) return false;
  return behind.size === 0 || !(await topics.changesBetween(behind, ends, signal));
}

/** Asks until the answer is yes. */
async function askingUntil(
  deps: Pick<LoadCatchUpDeps, 'onRetry' | 'random'>,
  signal: AbortSignal,
  question: () => Promise<boolean>,
): Promise<void> {
  while (!(await trying(deps, signal, question))) {
    await sleep(ASK_AGAIN_MS, signal);
    signal.throwIfAborted();
  }
}
