import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { serviceEnv, serviceFlags } from '../../bin/node-flags.js';
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
}

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
  return {
    pid,
    printed,
    lines,
    alive,
    loader() {
      try {
        const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
        return children === '' ? null : Number(children.split(' ')[0]);
      } catch {
        return null;
      }
    },
    async kill() {
      if (alive()) child.kill('SIGKILL');
      await closed;
    },
    async ended() {
      await closed;
      return child.exitCode;
    },
  };
}

export function textOf({ printed, lines }: BackfillRun): string {
  return [...printed, ...lines.filter(({ level }) => level === 0).map(({ msg }) => msg)].join('\n');
}
