import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { serviceFlags } from '../../bin/node-flags.js';
import { WITH_PARENT } from '../support/worker.ts';
import type { WorkerTask, WorkerWord } from './log-worker.ts';

export interface LogProcess {
  readonly pid: number;
  readonly words: readonly WorkerWord[];
  published(): number;
  state(): string;
  /** SIGKILL, resolved when it is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null>;
}

const WORKER = fileURLToPath(new URL('log-worker.ts', import.meta.url));

/** The poller as `deltaferry run` would run it, but alone. Stop or kill it also where the test fails. */
export function startLogProcess(task: WorkerTask, onWord?: (word: WorkerWord) => void): LogProcess {
  const child = spawn(
    process.execPath,
    [...serviceFlags, '--import', WITH_PARENT, WORKER, JSON.stringify(task)],
    {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    },
  );
  const words: WorkerWord[] = [];
  const closed = once(child, 'close');
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const word = JSON.parse(line) as WorkerWord;
    words.push(word);
    onWord?.(word);
  });
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await closed;
    return child.exitCode;
  };
  return {
    pid: child.pid!,
    words,
    published: () => words.reduce((sum, word) => sum + ('published' in word ? word.published : 0), 0),
    state: () => {
      const last = words.findLast((word) => 'state' in word);
      return last !== undefined && 'state' in last ? last.state : 'not yet started';
    },
    kill: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
  };
}
