import { execFile, execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { engineEnv } from '../../bin/node-flags.js';
import { processStart } from '../../bin/processes.js';
import type { Command } from './part.ts';

/** A process beyond doubt: the operating system gives a pid out again, but not with the same start time. */
export interface ProcessId {
  readonly pid: number;
  readonly start: string;
}

export function identify(pid: number): ProcessId | undefined {
  const start = processStart(pid);
  return start === undefined ? undefined : { pid, start };
}

export function isAlive({ pid, start }: ProcessId): boolean {
  return processStart(pid) === start;
}

/** Runs a command to its end; rejects with what it wrote to stderr when it fails. */
export const run = promisify(execFile);

/** Starts a process that outlives this one, its output appended to the log. Undefined: it was gone at once. */
export async function startDetached(command: Command, logFile: string): Promise<ProcessId | undefined> {
  const log = openSync(logFile, 'a', 0o600);
  try {
    const child = spawn(command.file, command.args, {
      cwd: command.cwd,
      env: { ...engineEnv(), ...command.env },
      detached: true,
      stdio: ['ignore', log, log],
      ...command.account,
    });
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    child.unref();
    return child.pid === undefined ? undefined : identify(child.pid);
  } finally {
    closeSync(log);
  }
}

/** Sends a signal to that process and no other. Answers whether it was there. */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(id)) return false;
  try {
    process.kill(id.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Waits until it is gone; false when it still runs after that time. */
export async function waitForEnd(id: ProcessId, milliseconds: number): Promise<boolean> {
  const deadline = Date.now() + milliseconds;
  while (isAlive(id)) {
    if (Date.now() >= deadline) return false;
    await delay(20);
  }
  return true;
}

/**
 * Ends a process the hard way, with its children: those of a killed Postgres may run on for a while, and it refuses
 * to start beside them.
 */
export async function killWithChildren(id: ProcessId): Promise<void> {
  const all = [id, ...childrenOf(id.pid)];
  for (const one of all) signalProcess(one, 'SIGKILL');
  for (const one of all) await waitForEnd(one, 10_000);
}

/** Resident memory in bytes, where the operating system tells. */
export function residentBytes(pid: number): number | undefined {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}

/** The command line of a process, empty when there is no such process. */
export function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux')
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
  } catch {
    return '';
  }
}

function childrenOf(parent: number): ProcessId[] {
  if (process.platform !== 'linux') return [];
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids
    .filter((pid) => parentOf(pid) === parent)
    .map((pid) => identify(Number(pid)))
    .filter((id) => id !== undefined);
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}
