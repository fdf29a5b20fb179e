import type { LogLine, Worker } from './worker.ts';

/** The position that a publication of the log poller leads to. */
export interface LogProgress {
  readonly acknowledged: string;
  /** Set within a window. */
  readonly target: string | null;
  readonly last: string;
}

/** What a poller was doing when its last line was written. */
export function logPhase(lines: readonly LogLine[]): string {
  const newest = lines.findLast(({ msg }) => /^publish (begins|ends)$|^log opened$/.test(msg));
  const ended = lines.findLast(({ msg }) => /^publish ends$|^log opened$/.test(msg));
  const begun = newest?.msg === 'publish begins';
  const inside = begun ? progressOf(newest)?.target != null : false;
  // The position behind what has ended.
  const within = progressOf(ended)?.target != null;
  if (begun) return inside || within ? 'publishing a part of a window' : 'publishing a window';
  return within ? 'between the parts of a window' : 'between windows';
}

/** Publications that were begun again from the very same position, by whomever. */
export function publishedAgain(lines: readonly LogLine[]): number {
  const begun = new Map<string, number>();
  for (const line of lines) {
    if (line.msg !== 'publish begins') continue;
    const text = JSON.stringify(line['position']);
    begun.set(text, (begun.get(text) ?? 0) + 1);
  }
  return [...begun.values()].reduce((sum, count) => sum + count - 1, 0);
}

/** Whether a publication that some worker has ended covers this transaction. */
export function isAcknowledged(workers: readonly Pick<Worker, 'lines'>[], xid: bigint): boolean {
  return workers.some(({ lines }) =>
    lines.some((line) => {
      const position = line.msg === 'publish ends' ? progressOf(line) : undefined;
      return position !== undefined && position.target === null && sees(position.acknowledged, xid);
    }),
  );
}

/** Whether a `pg_snapshot` sees this transaction as ended. */
export function sees(snapshot: string, xid: bigint): boolean {
  const [, xmax = '0', open = ''] = snapshot.split(':');
  return xid < BigInt(xmax) && !open.split(',').includes(String(xid));
}

export function progressOf(line: LogLine | undefined): LogProgress | undefined {
  return (line?.['position'] ?? undefined) as LogProgress | undefined;
}
