import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { serviceEnv, serviceFlags } from '../../bin/node-flags.js';
import { peakMemory } from './memory.ts';
import { WITH_PARENT, type LogLine } from './worker.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** A real `deltaferry backfill` process. */
export interface BackfillRun {
  readonly pid: number;
  /** What it printed for people so far. */
  readonly printed: readonly string[];
  /** Its debug log and whatever else it wrote to standard error. */
  readonly lines: readonly LogLine[];
  alive(): boolean;
  /** The process that loads; null as long as there is none. */
  loader(): number | null;
  /** SIGKILL, resolved when it is gone. */
  kill(): Promise<void>;
  /** Resolves to the exit code, null after a signal. */
  ended(): Promise<number | null>;
  /** Peak memory of either process until now, or until shortly before it ended, megabytes; 0 where nobody tells. */
  peaks(): Readonly<Record<'publisher' | 'loader', number>>;
}

/** Of each process of a load. */
export const MOST_MEGABYTES = 512;
const LOOK_MS = 50;

export function startBackfill(args: readonly string[]): BackfillRun {
  const settings = ['--set', 'log.level=debug', '--set', 'log.format=json'];
  const child = spawn(
    process.execPath,
    [...serviceFlags, '--import', WITH_PARENT, MAIN, 'backfill', ...args, ...settings],
    {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: serviceEnv,
    },
  );
  const printed: string[] = [];
  const lines: LogLine[] = [];
  createInterface({ input: child.stdout! }).on('line', (text) => printed.push(text));
  createInterface({ input: child.stderr! }).on('line', (text) =>
    lines.push(text.startsWith('{"level"') ? (JSON.parse(text) as LogLine) : { msg: text, level: 0 }),
  );
  // Not 'exit': the last lines may come after it. The loader has the same standard error.
  const closed = once(child, 'close');
  const pid = child.pid!;
  const alive = () => child.exitCode === null && child.signalCode === null;
  const peaks = { publisher: 0, loader: 0 };
  const looking = setInterval(() => {
    peaks.publisher = Math.max(peaks.publisher, peakMemory(pid) ?? 0);
    const loader = loaderOf(pid);
    if (loader !== null) peaks.loader = Math.max(peaks.loader, peakMemory(loader) ?? 0);
  }, LOOK_MS).unref();
  void closed.finally(() => clearInterval(looking));
  return {
    pid,
    printed,
    lines,
    alive,
    loader: () => loaderOf(pid),
    async kill() {
      if (alive()) child.kill('SIGKILL');
      await closed;
    },
    async ended() {
      await closed;
      return child.exitCode;
    },
    peaks: () => peaks,
  };
}

function loaderOf(pid: number): number | null {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return children === '' ? null : Number(children.split(' ')[0]);
  } catch {
    return null;
  }
}

/** Neither process of any of the runs took more than it may; answers the largest peaks, for people. */
export function assertBoundedMemory(runs: readonly BackfillRun[]): string {
  const most = (of: 'publisher' | 'loader') => Math.max(...runs.map((run) => run.peaks()[of]));
  const [publisher, loader] = [most('publisher'), most('loader')];
  assert.ok(publisher <= MOST_MEGABYTES && loader <= MOST_MEGABYTES, `${publisher} and ${loader} MB`);
  // Where the system tells it, somebody has looked.
  assert.ok(process.platform !== 'linux' || (publisher > 0 && loader > 0), 'nobody looked at the memory');
  return `publisher ${publisher} MB, loader ${loader} MB at most`;
}

export function textOf({ printed, lines }: BackfillRun): string {
  return [...printed, ...lines.filter(({ level }) => level === 0).map(({ msg }) => msg)].join('\n');
}
