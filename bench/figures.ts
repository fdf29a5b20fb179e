import { readFileSync } from 'node:fs';

/** One line of a benchmark: a figure beside the raw limit of the same machine in the same run. */
export interface Figure {
  readonly what: string;
  readonly figure: string;
  readonly limit: string;
  readonly ratio: string;
  readonly budget: string;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Nearest-rank percentile of unordered values; `p` from 0 to 1. */
export function percentile(values: readonly number[], p: number): number {
  if (values.length === 0) throw new Error('no values to take a percentile of');
  const ordered = values.toSorted((a, b) => a - b);
  return ordered[Math.max(0, Math.ceil(p * ordered.length) - 1)]!;
}

/** Percentile of values that each stand for `weight` observations. */
export function weightedPercentile(samples: readonly { value: number; weight: number }[], p: number): number {
  const ordered = samples.toSorted((a, b) => a.value - b.value);
  const total = ordered.reduce((sum, { weight }) => sum + weight, 0);
  let seen = 0;
  for (const { value, weight } of ordered) {
    seen += weight;
    if (seen >= p * total) return value;
  }
  throw new Error('no samples to take a percentile of');
}

/** Peak resident memory of a process in MB (Linux). */
export function peakMegabytes(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  if (line === null) throw new Error(`no VmHWM for process ${pid}`);
  return Math.round(Number(line[1]) / 1024);
}

/** What a process has taken of the processors so far, which other load on the machine hardly changes (Linux). */
export function processorSeconds(pid: number): number {
  const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ').slice(11, 13);
  return (Number(user) + Number(system)) / 100;
}

export const perSecond = (rows: number, ms: number): string =>
  `${Math.round(rows / (ms / 1000)).toLocaleString('en')}/s`;
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;

export function printFigures(title: string, figures: readonly Figure[]): void {
  const head: Figure = { what: title, figure: 'seen', limit: 'raw limit', ratio: 'ratio', budget: 'budget' };
  const columns = ['what', 'figure', 'limit', 'ratio', 'budget'] as const;
  const width = (column: keyof Figure) => Math.max(...[head, ...figures].map((row) => row[column].length));
  for (const row of [head, ...figures])
    console.log(`| ${columns.map((column) => row[column].padEnd(width(column))).join(' | ')} |`);
}
