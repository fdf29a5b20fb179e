import type { Change } from '../change/change.ts';
import { orAborted } from '../flow/abortable.ts';
import { storedLogPosition, type LogPosition } from '../flow/log-position.ts';
import type { Position, RejectedChange } from '../ports/change-log.ts';
import type { LogMark, LogPage, Snapshot } from '../ports/postgres-log.ts';
import type { LogSessionDeps } from './postgres-log-deps.ts';
import { LOG_STOPS, startingPoint } from './postgres-log-start.ts';
import { createPublisher, type Publisher } from './publisher.ts';
import { noteStop } from './stops.ts';

interface LogBatch {
  readonly changes: readonly Change[];
  readonly rejected: readonly RejectedChange[];
  /** Where the poller stands once this is durable. */
  readonly position: LogPosition;
}

/** Behind, the partitions are looked after so many times less often. */
const BEHIND_FACTOR = 6;

/**
 * From opening the log of changes to the first failure, which it throws, or the signal, on which it returns
 * after the transaction in hand. Starts from the stored position: whatever an earlier session had in
 * memory counts for nothing.
 */
export async function followLog(deps: LogSessionDeps, signal: AbortSignal): Promise<void> {
  // Waited for even when the feed has to end: a log that opened after its close would stay open.
  const stored = await deps.log.open();
  try {
    await follow(deps, stored, signal);
  } catch (error) {
    if (!signal.aborted) await noteStop(deps, LOG_STOPS, stored, error);
    throw error;
  }
}

async function follow(deps: LogSessionDeps, stored: Position | null, signal: AbortSignal): Promise<void> {
  const { source, log, options, clock } = deps;
  const { start, loaded } = await startingPoint(deps, stored);
  const publisher = createPublisher<LogBatch>(
    (batch) => log.publish({ ...batch, position: storedLogPosition(batch.position) }),
    ({ changes, rejected }) =>
      deps.onPublished?.({
        changes: changes.length,
        rejected: rejected.length,
        ts: changes.at(-1)?.ts ?? null,
      }),
  );
  const windows = createWindows(deps, publisher, start);
  let waitMs = options.pollMinMs;
  let keptAt = Number.NEGATIVE_INFINITY;
  try {
    const now = await orAborted(
      source.snapshot(start.target ?? start.acknowledged, start.proof?.mark ?? null),
      signal,
    );
    await orAborted(windows.begin(loaded), signal);
    deps.onOpened();
    for (let snapshot = now; !signal.aborted;) {
      const begun = clock.now();
      const found = await windows.publish(snapshot, signal);
      deps.onAlive();
      const kept = clock.now() - keptAt;
      if (kept >= options.upkeepMs * (found === 'much' ? BEHIND_FACTOR : 1)) {
        // Partitions are dropped by what is durable, never by what is in memory.
        const durable = await windows.settle();
        deps.onPolled?.(await orAborted(source.upkeep(durable), signal));
        keptAt = clock.now();
      }
      waitMs = found === 'nothing' ? Math.min(options.pollMaxMs, Math.max(1, waitMs) * 2) : options.pollMinMs;
      await clock.sleep(Math.max(0, waitMs - (clock.now() - begun)), signal);
      if (!signal.aborted)
        snapshot = await orAborted(source.snapshot(windows.acknowledged(), windows.mark()), signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await publisher.settled();
  }
}

interface Windows {
  /** Leaves the first mark where there is none. `loaded`: the position is new, and becomes durable. */
  begin(loaded: boolean): Promise<void>;
  /** What every change published so far was seen by. */
  acknowledged(): Snapshot;
  /** What the database must have for that. */
  mark(): LogMark | null;
  /** Publishes everything that the snapshot sees and was not published, and waits until it is durable. `much`: it took several transactions. */
  publish(snapshot: Snapshot, signal: AbortSignal): Promise<'nothing' | 'some' | 'much'>;
  /** Makes durable where it stands; what is acknowledged then. */
  settle(): Promise<Snapshot>;
}

function createWindows(
  { source, options }: LogSessionDeps,
  publisher: Publisher<LogBatch>,
  start: LogPosition,
): Windows {
  let position = start;
  /** Windows without a change move the position in memory alone. */
  let written = true;
  let pages: LogPage[] = [];

  function isFull(): boolean {
    let changes = 0;
    let bytes = 0;
    for (const page of pages) {
      changes += page.changes.length + page.rejected.length;
      bytes += page.bytes;
    }
    return changes >= options.maxBatchChanges || bytes >= options.maxBatchBytes;
  }

  async function send(at: LogPosition): Promise<void> {
    const taken = pages;
    pages = [];
    position = at;
    written = true;
    await publisher.send({
      changes: taken.flatMap(({ changes }) => changes),
      rejected: taken.flatMap(({ rejected }) => rejected),
      position: at,
    });
  }

  /** Resolves with how many transactions it took. */
  async function publishWindow(to: Snapshot, signal: AbortSignal): Promise<number> {
    const isBegun = position.target !== null;
    // Not from where windows were empty: a standby that takes over may give their transaction ids to others.
    const from = isBegun ? position.acknowledged : (position.proof?.proved ?? position.acknowledged);
    let mark = isBegun ? position.proof?.mark : undefined;
    let sent = 0;
    for await (const page of source.read({ from, to, after: position.last }, signal)) {
      pages.push(page);
      // Before anything of the window is published.
      mark ??= await orAborted(source.mark(), signal);
      if (!isFull()) continue;
      signal.throwIfAborted();
      await send({ acknowledged: from, target: to, last: page.last, proof: { mark, proved: from } });
      sent++;
    }
    signal.throwIfAborted();
    const proof = mark === undefined ? position.proof : { mark, proved: to };
    const done: LogPosition = { acknowledged: to, target: null, last: 0n, proof };
    if (pages.length > 0) {
      await send(done);
      sent++;
    }
    // No window begins before the one ahead of it is durable.
    await publisher.settled();
    publisher.check();
    if (position !== done) written = false;
    position = done;
    return sent;
  }

  return {
    async begin(loaded) {
      if (position.proof !== null) return;
      position = { ...position, proof: { mark: await source.mark(), proved: position.acknowledged } };
      if (!loaded) return;
      await send(position);
      await publisher.settled();
      publisher.check();
    },

    acknowledged: () => position.acknowledged,
    mark: () => position.proof?.mark ?? null,

    async publish(snapshot, signal) {
      // Within a window that an earlier session began: its end was chosen then.
      const begun = position.target === null ? 0 : await publishWindow(position.target, signal);
      const sent = snapshot === position.acknowledged ? 0 : await publishWindow(snapshot, signal);
      if (begun + sent === 0) return 'nothing';
      return Math.max(begun, sent) > 1 ? 'much' : 'some';
    },

    async settle() {
      if (!written) await send(position);
      await publisher.settled();
      publisher.check();
      return position.acknowledged;
    },
  };
}
