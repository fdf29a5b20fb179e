import type { Ports } from './ports.ts';
import type { Secrets } from './secrets.ts';

export const partNames = ['kafka', 'registry', 'postgres', 'warehouse'] as const;
export type PartName = (typeof partNames)[number];

/** One engine of the local stack. The supervisor starts, watches and stops all of them the same way. */
export interface Part {
  readonly name: PartName;
  /** The ports that it listens on. */
  readonly ports: readonly (keyof Ports)[];
  /** Whether the bootstrap builds a folder of jars for it. */
  readonly needsEngine: boolean;
  /** How it is asked to end, with its data safe. */
  readonly stopSignal: NodeJS.Signals;
  /** Makes what the command needs; what a former start has made is left alone. The part is not running. */
  prepare(place: Place): Promise<void>;
  command(place: Place): Promise<Command>;
  /** Asks one question through the real client: resolves on an answer, rejects when there is none yet. */
  ready(place: Place): Promise<void>;
  /** Called when it ended of itself after its stop signal. */
  ended?(place: Place): Promise<void>;
  /** Removes what it keeps outside of its folder. */
  wipe?(place: Place): Promise<void>;
}

/** Where a part lives in one stack, and what it was given. */
export interface Place {
  /** Its own folder, absolute; it exists. */
  readonly dir: string;
  /** The folder of its jars; empty for a part that needs none. */
  readonly engine: string;
  readonly ports: Ports;
  readonly secrets: Secrets;
}

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly account?: Account;
}

/** The operating system's user that a process runs as. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}
