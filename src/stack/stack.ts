import { setTimeout as delay } from 'node:timers/promises';
import { endpointsOf } from './endpoints.ts';
import type { Endpoints } from './endpoints.ts';
import { engineFolders } from './engines.ts';
import { StackError } from './errors.ts';
import { kafka } from './kafka.ts';
import { partNames } from './part.ts';
import type { Part, PartName } from './part.ts';
import { postgres } from './postgres.ts';
import { isAlive, residentBytes } from './processes.ts';
import { registry } from './registry.ts';
import { StackFolder } from './stack-folder.ts';
import { endPart, placeOf, startPart as start, stopPart as stop } from './supervisor.ts';
import type { Progress, Supervision } from './supervisor.ts';
import { warehouse } from './warehouse.ts';
import { startWatchdog } from './watchdog-start.ts';

export type { Endpoints } from './endpoints.ts';
export type { PartName } from './part.ts';
export type { Progress } from './supervisor.ts';

const partOf: Readonly<Record<PartName, Part>> = { kafka, registry, postgres, warehouse };

export interface StackOptions {
  /** The folder of the stack's state and logs, `.deltaferry` of a checkout; another folder is another stack. */
  readonly dir: string;
  readonly onProgress?: (progress: Progress) => void;
}

export interface StartOptions extends StackOptions {
  /** All by default. The endpoints name every part's address all the same. */
  readonly parts?: readonly PartName[];
  /** The stack is stopped when this process is gone, however it ended. Without it the stack stays up. */
  readonly ownerPid?: number;
  /** Whether that also removes its data. */
  readonly wipeWithOwner?: boolean;
  /** Ends the start: what this call has started is stopped again, and the call rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Starts what does not run, side by side, and resolves when every part has answered its real client. The processes
 * outlive the caller. Called twice it changes nothing; a part that died is started again.
 * @throws StackError that names the part and shows the end of its log; what this call started is stopped again
 */
export async function startStack(options: StartOptions): Promise<Endpoints> {
  const { signal } = options;
  try {
    return await startParts(options);
  } catch (error) {
    // Ctrl-C on a terminal also reaches what was just being started, and that is how it ended.
    signal?.throwIfAborted();
    throw error;
  }
}

async function startParts(options: StartOptions): Promise<Endpoints> {
  const names = partNames.filter((name) => options.parts?.includes(name) ?? true);
  const supervision = await supervise(options, names);
  const { folder } = supervision;
  return folder.locked(async () => {
    if (options.ownerPid !== undefined) {
      await startWatchdog(folder, options.ownerPid, options.wipeWithOwner ?? false);
    }
    const parts = names.map((name) => partOf[name]);
    const results = await Promise.allSettled(parts.map((part) => start(part, supervision)));
    const failures = results
      .filter((result) => result.status === 'rejected')
      .map(({ reason }) => reason as StackError);
    if (failures.length > 0 || options.signal?.aborted === true) {
      const untouched = (at: number): boolean => {
        const result = results[at];
        return result?.status === 'fulfilled' && !result.value;
      };
      await Promise.all(parts.filter((_, at) => !untouched(at)).map((part) => stop(part, supervision)));
      options.signal?.throwIfAborted();
      throw together(failures);
    }
    return publish(folder);
  });
}

/**
 * Stops every part with its data safe. `wipe` also removes data, logs and ports.
 */
export async function stopStack(options: StackOptions & { readonly wipe?: boolean }): Promise<void> {
  const folder = new StackFolder(options.dir);
  if (!folder.exists()) return;
  const supervision = { folder, engines: {}, onProgress: options.onProgress ?? ignore };
  await folder.locked(async () => {
    folder.withdraw();
    folder.recordStopped('watchdog');
    await Promise.all(partNames.map((name) => stop(partOf[name], supervision)));
    if (options.wipe === true) {
      for (const name of partNames) await partOf[name].wipe?.(await placeOf(partOf[name], folder, ''));
      folder.wipe();
    }
  });
}

export interface PartStatus {
  readonly part: PartName;
  /** died: it ended without being asked to; silent: it runs and does not answer. */
  readonly state: 'up' | 'silent' | 'died' | 'stopped';
  readonly pid: number | undefined;
  /** Resident memory, where the system tells. */
  readonly residentBytes: number | undefined;
  /** The end of its log, when it died or is silent. */
  readonly lastLines: readonly string[];
}

export interface StackStatus {
  readonly dir: string;
  /** Undefined when the stack is down. */
  readonly endpoints: Endpoints | undefined;
  readonly parts: readonly PartStatus[];
}

/** Asks every part through its real client, 5 s at most. */
export async function stackStatus({ dir }: { readonly dir: string }): Promise<StackStatus> {
  const folder = new StackFolder(dir);
  const parts = await Promise.all(partNames.map((name) => partStatus(partOf[name], folder)));
  return { dir: folder.dir, endpoints: folder.endpoints(), parts };
}

/** Starts one part of a stack that was started before; what it needs is remembered. For tests of crashes. */
export async function startPart(dir: string, name: PartName): Promise<Endpoints> {
  const supervision = await supervise({ dir }, [name]);
  return supervision.folder.locked(async () => {
    await start(partOf[name], supervision);
    return publish(supervision.folder);
  });
}

/** Ends a part without telling the stack: its status is then `died`. Resolves when it is gone. */
export async function killPart(
  dir: string,
  name: PartName,
  options: { readonly signal?: NodeJS.Signals } = {},
): Promise<void> {
  await endPart(partOf[name], new StackFolder(dir), options.signal ?? 'SIGKILL');
}

/** Ends a part as the signal says (SIGKILL: a crash; by default gracefully) and starts it on the same port. */
export async function restartPart(
  dir: string,
  name: PartName,
  options: { readonly signal?: NodeJS.Signals } = {},
): Promise<Endpoints> {
  await endPart(partOf[name], new StackFolder(dir), options.signal ?? partOf[name].stopSignal);
  return startPart(dir, name);
}

async function supervise(options: StartOptions, names: readonly PartName[]): Promise<Supervision> {
  const onProgress = options.onProgress ?? ignore;
  const began = Date.now();
  const needed = names.filter((name) => partOf[name].needsEngine);
  const engines = await engineFolders(needed, (text) => {
    onProgress({ part: 'engines', state: 'note', seconds: (Date.now() - began) / 1000, text });
  });
  const { signal } = options;
  return {
    folder: new StackFolder(options.dir),
    engines,
    onProgress,
    ...(signal === undefined ? {} : { signal }),
  };
}

async function publish(folder: StackFolder): Promise<Endpoints> {
  const endpoints = endpointsOf(folder.dir, await folder.ports(), folder.secrets());
  folder.publish(endpoints);
  return endpoints;
}

async function partStatus(part: Part, folder: StackFolder): Promise<PartStatus> {
  const id = folder.started(part.name);
  const status = { part: part.name, pid: id?.pid, residentBytes: undefined, lastLines: [] };
  if (id === undefined) return { ...status, state: 'stopped' };
  if (!isAlive(id)) return { ...status, state: 'died', lastLines: folder.lastLines(part.name) };
  const alive = { ...status, residentBytes: residentBytes(id.pid) };
  const answer = part.ready(await placeOf(part, folder, id.engine)).then(
    () => true,
    () => false,
  );
  if (await Promise.race([answer, delay(5000, false, { ref: false })])) return { ...alive, state: 'up' };
  return { ...alive, state: 'silent', lastLines: folder.lastLines(part.name) };
}

function together(failures: readonly StackError[]): StackError {
  const [first] = failures;
  if (failures.length === 1 && first !== undefined) return first;
  return new StackError({
    code: 'STACK_PARTS_FAILED',
    message: failures.map(({ message }) => message).join('\n'),
    cause: new AggregateError(failures),
  });
}

function ignore(): void {
  // Nobody listens.
}
