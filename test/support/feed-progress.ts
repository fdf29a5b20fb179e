import type { LogLine } from './worker.ts';

/** Where a Delta feed stands: `version` is published as a whole, and `groups` keys of the one after it. */
export interface FeedProgress {
  readonly version: number;
  readonly groups: number;
}

/** Where the newest transaction that ended has brought the feed. */
export function publishedUpTo(lines: readonly LogLine[]): FeedProgress | undefined {
  return lines.findLast(({ msg }) => msg === 'publish ends')?.['position'] as FeedProgress | undefined;
}

/** Where the transaction leads that had begun and not ended when the last line was written. */
export function publishingNow(lines: readonly LogLine[]): FeedProgress | undefined {
  const last = lines.findLast(({ msg }) => msg.startsWith('publish '));
  return last?.msg === 'publish begins' ? (last['position'] as FeedProgress) : undefined;
}

/** Whether everything up to this version is published, and nothing of a later one. */
export function isPublished(lines: readonly LogLine[], version: number): boolean {
  const progress = publishedUpTo(lines);
  return progress?.version === version && progress.groups === 0;
}

/** The newest state that the feed has told. */
export function feedState(lines: readonly LogLine[]): unknown {
  return lines.findLast(({ part }) => String(part).startsWith('delta-feed/'))?.['state'];
}
