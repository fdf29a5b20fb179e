import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { serviceEnv, serviceFlags } from '../bin/node-flags.js';
import { peakMegabytes, perSecond, seconds, type Figure } from './figures.ts';
import { STACK_DIR } from './site.ts';

const MAIN = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));

/** How long a load took. */
export interface Timed {
  readonly rows: number;
  readonly seconds: number;
  /** Seconds of each. */
  readonly stages: Readonly<Record<string, number>>;
}

export interface Loaded extends Timed {
  /** Peak resident memory in MB. */
  readonly publisher: number;
  readonly loader: number;
}

/** `deltaferry backfill`, in a process of its own as a user runs it. */
export async function backfillCommand(
  table: string,
  configFile: string,
  ...more: readonly string[]
): Promise<Loaded> {
  const args = ['backfill', table, '--config', configFile, '--stack', STACK_DIR, '--json', ...more];
  const child = spawn(process.execPath, [...serviceFlags, MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: serviceEnv,
  });
  const pid = child.pid!;
  const peak = { publisher: 0, loader: 0 };
  const watching = setInterval(() => {
    try {
      peak.publisher = peakMegabytes(pid);
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
      if (children !== '') peak.loader = peakMegabytes(Number(children.split(' ')[0]));
    } catch {
      // One of them has just ended.
    }
  }, 100);
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(watching);
  if (code !== 0) throw new Error(`the backfill failed: ${printed}`);
  return { ...(JSON.parse(printed) as Pick<Loaded, 'rows' | 'seconds' | 'stages'>), ...peak };
}

/** The stages, each with its own speed. */
export function stageFigures(
  { rows, stages }: Timed,
  names: ReadonlyArray<readonly [stage: string, what: string]>,
): Figure[] {
  return names.map(([stage, what]) => timeFigure(what, rows, (stages[stage] ?? 0) * 1000));
}

/** Something that was done with so many rows. */
export function timeFigure(what: string, rows: number, ms: number, more: Partial<Figure> = {}): Figure {
  return {
    what: `  ${what}`,
    figure: `${perSecond(rows, ms)}, ${seconds(ms)}`,
    limit: '',
    ratio: '',
    budget: '',
    ...more,
  };
}

export function memoryFigures(processes: Readonly<Record<string, number>>, budget = '≤ 512 MB'): Figure[] {
  return Object.entries(processes).map(([process, megabytes]) => ({
    what: `  ${process}, peak resident memory`,
    figure: `${megabytes} MB`,
    limit: '',
    ratio: '',
    budget,
  }));
}
