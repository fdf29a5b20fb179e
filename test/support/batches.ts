import type { LogLine } from './worker.ts';

/** Applying transactions that a worker had begun and not ended when its last line was written: partition → offset. */
export function batchesInHand(lines: readonly LogLine[]): Map<number, string> {
  const inHand = new Map<number, string>();
  for (const line of lines) {
    const partition = Number(line['partition']);
    if (line.msg === 'apply begins') inHand.set(partition, String(line['from']));
    if (line.msg === 'apply ends') inHand.delete(partition);
  }
  return inHand;
}

/** How often a batch was begun that some worker had begun before from the same offset. */
export function redeliveries(lines: readonly LogLine[]): number {
  const begun = new Map<string, number>();
  for (const line of lines) {
    if (line.msg !== 'apply begins') continue;
    const batch = `${String(line['partition'])}@${String(line['from'])}`;
    begun.set(batch, (begun.get(batch) ?? 0) + 1);
  }
  return [...begun.values()].reduce((sum, count) => sum + count - 1, 0);
}

/** `5 mid-batch, 2 starting` */
export function tally(phases: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const phase of phases) counts.set(phase, (counts.get(phase) ?? 0) + 1);
  return [...counts]
    .sort(([, one], [, other]) => other - one)
    .map(([phase, count]) => `${count} ${phase}`)
    .join(', ');
}
