import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../errors.ts';
import { StackError } from './errors.ts';
import type { Part, PartName, Place } from './part.ts';
import { isFree } from './ports.ts';
import { isAlive, killWithChildren, signalProcess, startDetached, waitForEnd } from './processes.ts';
import type { ProcessId } from './processes.ts';
import type { StackFolder } from './stack-folder.ts';

export interface Progress {
  readonly part: PartName | 'engines';
  readonly state: 'preparing' | 'starting' | 'up' | 'stopping' | 'down' | 'note';
  /** Since this part's work began. */
  readonly seconds: number;
  readonly text?: string;
}

export interface Supervision {
  readonly folder: StackFolder;
  /** The folders of jars by part. */
  readonly engines: Readonly<Partial<Record<PartName, string>>>;
  readonly onProgress: (progress: Progress) => void;
  /** Aborted: nothing more is started, and what starts is not waited for. */
  readonly signal?: AbortSignal;
}

const startDeadline = 120_000;
// Long enough for the warehouse to write its archive of classes.
const stopDeadline = 45_000;

/**
 * Brings a part up, or leaves it alone when it already answers. Resolves with whether this call started it.
 * @throws StackError when it ends before it answers, or does not answer in two minutes
 */
export async function startPart(part: Part, supervision: Supervision): Promise<boolean> {
  const { folder, engines, signal } = supervision;
  const report = reporter(part, supervision);
  const running = folder.started(part.name);
  if (running !== undefined && isAlive(running)) {
    const place = await placeOf(part, folder, running.engine);
    try {
      await waitUntilReady(part, place, running, supervision);
    } catch (error) {
      // Not started here, and so not to be stopped when the start is given up.
      if (signal?.aborted === true) return false;
      throw error;
    }
    report('up', 'already running');
    return false;
  }
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    report('preparing');
    await replaceTakenPorts(part, supervision);
    const place = await placeOf(part, folder, engines[part.name] ?? '');
    folder.startLog(part.name);
    try {
      await part.prepare(place);
      signal?.throwIfAborted();
      report('starting');
      const id = await startDetached(await part.command(place), folder.logFile(part.name));
      if (id === undefined) throw endedEarly(part, folder);
      folder.recordStarted(part.name, { ...id, engine: place.engine });
      await waitUntilReady(part, place, id, supervision);
      report('up');
      return true;
    } catch (error) {
      if (attempt === 1 && (await lostItsPort(part, place, folder))) continue;
      throw asStackError(part, error);
    }
  }
}

/** Ends a part with its data safe, the hard way after a deadline. */
export async function stopPart(part: Part, supervision: Supervision): Promise<void> {
  const { folder } = supervision;
  const running = folder.started(part.name);
  if (running !== undefined && isAlive(running)) {
    const report = reporter(part, supervision);
    report('stopping');
    await endPart(part, folder, part.stopSignal);
    report('down');
  }
  folder.recordStopped(part.name);
}

/** Sends the signal and waits until the part is gone; its record stays. SIGKILL also takes its children. */
export async function endPart(part: Part, folder: StackFolder, signal: NodeJS.Signals): Promise<void> {
  const running = folder.started(part.name);
  if (running === undefined || !isAlive(running)) return;
  if (signal !== 'SIGKILL') {
    signalProcess(running, signal);
    if (await waitForEnd(running, stopDeadline)) {
      await part.ended?.(await placeOf(part, folder, running.engine));
      return;
    }
  }
  await killWithChildren(running);
}

export async function placeOf(part: Part, folder: StackFolder, engine: string): Promise<Place> {
  return { dir: folder.partDir(part.name), engine, ports: await folder.ports(), secrets: folder.secrets() };
}

/** A remembered port may have gone to another process while the part was down. */
async function replaceTakenPorts(part: Part, { folder }: Supervision): Promise<void> {
  const ports = await folder.ports();
  for (const name of part.ports) {
    if (!(await isFree(ports[name]))) await folder.replacePorts([name]);
  }
}

/** Whether it ended because another process took its port between our look and its start. */
async function lostItsPort(part: Part, place: Place, folder: StackFolder): Promise<boolean> {
  const id = folder.started(part.name);
  if (id !== undefined && isAlive(id)) return false;
  const free = await Promise.all(part.ports.map((name) => isFree(place.ports[name])));
  return free.includes(false);
}

async function waitUntilReady(
  part: Part,
  place: Place,
  id: ProcessId,
  { folder, signal }: Supervision,
): Promise<void> {
  const deadline = Date.now() + startDeadline;
  for (;;) {
    signal?.throwIfAborted();
    try {
      await part.ready(place);
      // Somebody else may have answered on its port.
      if (isAlive(id)) return;
    } catch (error) {
      if (isAlive(id) && Date.now() > deadline) {
        throw new StackError({
          code: 'STACK_PART_SILENT',
          message: `${part.name} runs but does not answer (${describeError(error)}).${endOfLog(part, folder)}`,
          cause: error,
        });
      }
    }
    if (!isAlive(id)) throw endedEarly(part, folder);
    await delay(50);
  }
}

function endedEarly(part: Part, folder: StackFolder): StackError {
  return new StackError({
    code: 'STACK_PART_DIED',
    message: `${part.name} ended while it started.${endOfLog(part, folder)}`,
  });
}

function asStackError(part: Part, error: unknown): StackError {
  if (error instanceof StackError) return error;
  return new StackError({
    code: 'STACK_PART_NOT_STARTED',
    message: `${part.name} could not be started: ${describeError(error)}`,
    cause: error,
  });
}

function endOfLog(part: Part, folder: StackFolder): string {
  const lines = folder.lastLines(part.name).map((line) => `\n  ${line}`);
  const where = folder.logFile(part.name);
  return lines.length === 0 ? ` Its log ${where} is empty.` : ` The end of ${where}:${lines.join('')}`;
}

function reporter(
  part: Part,
  { onProgress }: Supervision,
): (state: Progress['state'], text?: string) => void {
  const began = Date.now();
  return (state, text) => {
    const seconds = (Date.now() - began) / 1000;
    onProgress({ part: part.name, state, seconds, ...(text === undefined ? {} : { text }) });
  };
}
