import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { withLock } from '../../bin/lock.js';
import type { Endpoints } from './endpoints.ts';
import { partNames } from './part.ts';
import type { PartName } from './part.ts';
import { freePorts, portNames } from './ports.ts';
import type { Ports } from './ports.ts';
import type { ProcessId } from './processes.ts';
import { randomSecrets } from './secrets.ts';
import type { Secrets } from './secrets.ts';

/** A process of the stack, and the folder of the jars that it was started with (a later build makes another). */
export interface Started extends ProcessId {
  readonly engine: string;
}

/**
 * The folder of one stack (`.deltaferry`): ports, secrets and endpoints as JSON, `run/` for what runs, `logs/`, and
 * a folder per part. Every file appears whole or not at all.
 */
export class StackFolder {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = resolve(dir);
  }

  /** Makes the folder and runs the work while no other process or call changes this stack. */
  locked<T>(work: () => Promise<T>): Promise<T> {
    mkdirSync(join(this.dir, 'run'), { recursive: true });
    mkdirSync(join(this.dir, 'logs'), { recursive: true });
    return withLock(join(this.dir, 'lock'), () => undefined, work);
  }

  exists(): boolean {
    return existsSync(this.dir);
  }

  partDir(name: PartName): string {
    const dir = join(this.dir, name);
    mkdirSync(dir, { recursive: true });
    return dir;
  }

  logFile(name: PartName | 'watchdog'): string {
    return join(this.dir, 'logs', `${name}.log`);
  }

  /** Each start has a log of its own; the one before is kept. */
  startLog(name: PartName): void {
    const file = this.logFile(name);
    if (existsSync(file)) renameSync(file, join(this.dir, 'logs', `${name}.previous.log`));
  }

  lastLines(name: PartName, count = 12): string[] {
    try {
      const lines = readFileSync(this.logFile(name), 'utf8').split('\n');
      return lines.filter((line) => line.trim() !== '').slice(-count);
    } catch {
      return [];
    }
  }

  /** The remembered ports; those missing are asked from the operating system. */
  async ports(): Promise<Ports> {
    const known = this.read<Partial<Ports>>('ports.json') ?? {};
    if (portNames.every((name) => known[name] !== undefined)) return known as Ports;
    return this.replacePorts(portNames.filter((name) => known[name] === undefined));
  }

  async replacePorts(names: readonly (keyof Ports)[]): Promise<Ports> {
    const fresh = await freePorts(names.length);
    // Read after the wait: parts start side by side, and another may have replaced its own.
    const known = this.read<Partial<Ports>>('ports.json') ?? {};
    const ports = { ...known, ...Object.fromEntries(names.map((name, at) => [name, fresh[at]])) } as Ports;
    this.write('ports.json', ports);
    return ports;
  }

  secrets(): Secrets {
    const known = this.read<Secrets>('secrets.json');
    if (known !== undefined) return known;
    const secrets = randomSecrets();
    this.write('secrets.json', secrets);
    return secrets;
  }

  endpoints(): Endpoints | undefined {
    return this.read<Endpoints>('stack.json');
  }

  publish(endpoints: Endpoints): void {
    this.write('stack.json', endpoints);
  }

  withdraw(): void {
    rmSync(join(this.dir, 'stack.json'), { force: true });
  }

  started(name: PartName | 'watchdog'): Started | undefined {
    return this.read<Started>(join('run', `${name}.json`));
  }

  recordStarted(name: PartName | 'watchdog', id: Started): void {
    this.write(join('run', `${name}.json`), id);
  }

  recordStopped(name: PartName | 'watchdog'): void {
    rmSync(join(this.dir, 'run', `${name}.json`), { force: true });
  }

  /** Removes what a stack writes, and the folder if nothing else is in it: `--dir` may have named any folder. */
  wipe(): void {
    const own = ['ports.json', 'secrets.json', 'stack.json', 'run', 'logs', 'lock', ...partNames];
    for (const name of own) rmSync(join(this.dir, name), { recursive: true, force: true });
    try {
      rmdirSync(this.dir);
    } catch {
      // Somebody's own files are in it.
    }
  }

  private read<T>(name: string): T | undefined {
    try {
      return JSON.parse(readFileSync(join(this.dir, name), 'utf8')) as T;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  private write(name: string, content: unknown): void {
    const file = join(this.dir, name);
    writeFileSync(`${file}.new`, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}
