import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { serviceEnv, serviceFlags } from '../../bin/node-flags.js';

export interface LogLine {
  readonly msg: string;
  readonly level: number;
  readonly [field: string]: unknown;
}

/** A real `deltaferry run` process whose debug log is read as it comes. */
export interface Worker {
  readonly pid: number;
  readonly lines: readonly LogLine[];
  /** What the worker was doing when its last line was written. */
  phase(): string;
  alive(): boolean;
  /** SIGKILL, resolved when it is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null>;
}

/** For `--import`, with an `ipc` channel in `stdio`. */
export const WITH_PARENT = new URL('./with-parent.ts', import.meta.url).href;
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export function startWorker(
  args: readonly string[],
  { env = {}, onLine }: { env?: Record<string, string>; onLine?: (line: LogLine) => void } = {},
): Worker {
  const child: ChildProcess = spawn(
    process.execPath,
    [
      ...serviceFlags,
      '--import',
      WITH_PARENT,
      MAIN,
      'run',
      '--set',
      'log.level=debug',
      '--set',
      'log.format=json',
      '--set',
      'http.port=0',
      ...args,
    ],
    { env: { ...serviceEnv, ...env }, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] },
  );
  const lines: LogLine[] = [];
  // Not 'exit': the last lines may come after it.
  const exited = once(child, 'close');
  createInterface({ input: child.stderr! }).on('line', (text) => {
    const line = text.startsWith('{') ? (JSON.parse(text) as LogLine) : { msg: text, level: 0 };
    lines.push(line);
    onLine?.(line);
  });
  const alive = () => child.exitCode === null && child.signalCode === null;
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (alive()) child.kill(signal);
    await exited;
    return child.exitCode;
  };
  return {
    pid: child.pid!,
    lines,
    phase: () => lines.findLast((line) => / (begins|ends)$/.test(line.msg))?.msg ?? 'starting',
    alive,
    kill: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
  };
}
