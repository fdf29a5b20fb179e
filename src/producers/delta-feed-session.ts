import { orAborted } from '../flow/abortable.ts';
import { createFeedBatcher, type FeedBatch } from '../flow/feed-batch.ts';
import { parseFeedPosition, startOf, type FeedPosition } from '../flow/feed-position.ts';
import { OperatorError, TransientError } from '../errors.ts';
import type { Position } from '../ports/change-log.ts';
import type { DeltaTable } from '../ports/delta-source.ts';
import { createCatchUp } from './delta-feed-catch-up.ts';
import type { Published, SessionDeps } from './delta-feed-deps.ts';
import { createPublisher } from './publisher.ts';

/**
 * From opening the log to the first failure, which it throws, or the signal, on which it returns after
 * the transaction in hand. Starts from the log's position: whatever an earlier session had in memory
 * counts for nothing.
 */
export async function followTable(deps: SessionDeps, signal: AbortSignal): Promise<void> {
  const { source, log, mapping, options, clock } = deps;
  // Waited for even when the feed has to end: a log that opened after its close would stay open.
  const stored = await log.open();
  let table = await orAborted(source.describe(), signal);
  const { start, jumped } = await startingPoint(deps, stored, table);
  const look = async (): Promise<void> => {
    table = await orAborted(source.describe(), signal);
    checkTable(table, start, mapping.name);
  };
  checkTable(table, start, mapping.name);
  deps.onOpened();
  // Whoever waits for the feed to have passed the load's version sees that it has.
  if (jumped) await log.publish({ changes: [], rejected: [], position: { ...start } });

  let published = start.version;
  const publisher = createPublisher<FeedBatch>(
    (batch) => log.publish({ ...batch, position: { ...batch.position } }),
    (batch) => {
      deps.onPublished?.(publishedOf(batch, published));
      published = batch.position.version;
    },
  );
  const batcher = createFeedBatcher(start, {
    changes: options.maxBatchChanges,
    bytes: options.maxBatchBytes,
  });
  const catchUp = createCatchUp({ ...deps, batcher, publisher, look });
  let seenStamp: string | null = null;
  let readAt = 0;
  let movedAt = Number.NEGATIVE_INFINITY;
  let waitMs = options.pollMinMs;
  let busy = false;
  try {
    while (!signal.aborted) {
      publisher.check();
      let moved = false;
      const { stamp } = table;
      if (busy) moved = await catchUp(signal, 'unseen');
      else if (stamp !== seenStamp || clock.now() - readAt >= options.recheckMs) {
        moved = await catchUp(signal, seenStamp !== null && stamp !== seenStamp ? 'stamped' : 'looked');
        seenStamp = stamp;
        readAt = clock.now();
      }
      deps.onAlive();
      if (moved) movedAt = clock.now();
      busy = clock.now() - movedAt < options.busyMs;
      if (moved) waitMs = options.pollMinMs;
      else waitMs = busy ? options.pollMaxMs : Math.min(options.pollMaxMs, Math.max(1, waitMs) * 2);
      await clock.sleep(waitMs, signal);
      if (signal.aborted) break;
      if (!busy) await look();
    }
  } catch (error) {
    if (signal.aborted) return;
    await publisher.settled();
    if (await jumpToLoad(deps, error, table.id, batcher.next())) throw begunBehindLoad(mapping.name, error);
    throw error;
  } finally {
    await publisher.settled();
  }
}

/** Versions that are gone were loaded as a whole meanwhile: the feed goes on behind them. */
async function jumpToLoad(
  { startAfter, log }: SessionDeps,
  error: unknown,
  tableId: string,
  next: number,
): Promise<boolean> {
  if (!(error instanceof OperatorError) || error.code !== 'DELTA_VERSIONS_GONE') return false;
  const loaded = (await startAfter?.(tableId)) ?? null;
  if (loaded === null || loaded < next) return false;
  await log.publish({ changes: [], rejected: [], position: { ...startOf(tableId), version: loaded } });
  return true;
}

function begunBehindLoad(name: string, cause: unknown): TransientError {
  return new TransientError({
    code: 'FEED_BEHIND_LOAD',
    message: `Versions of the Delta table of ${name} are gone that a newer load has covered: the feed goes on behind it.`,
    cause,
  });
}

/** A load begins anew: also where the position is one of a table that was replaced since. */
async function startingPoint(
  { startAfter, mapping }: SessionDeps,
  stored: Position | null,
  table: DeltaTable,
): Promise<{ readonly start: FeedPosition; readonly jumped: boolean }> {
  const known = stored === null ? null : parseFeedPosition(stored, mapping.name);
  if (known?.tableId === table.id) return { start: known, jumped: false };
  const loaded = (await startAfter?.(table.id)) ?? null;
  if (loaded !== null) return { start: { ...startOf(table.id), version: loaded }, jumped: true };
  return { start: known ?? startOf(table.id), jumped: false };
}

function publishedOf({ changes, rejected, position }: FeedBatch, before: number): Published {
  return {
    changes: changes.length,
    rejected: rejected.length,
    versions: position.version - before,
    lastVersion: position.version,
    ts: changes.at(-1)?.ts ?? null,
  };
}

function checkTable(table: DeltaTable, start: FeedPosition, name: string): void {
  if (table.id !== start.tableId)
    throw new OperatorError({
      code: 'DELTA_TABLE_REPLACED',
      message: `The Delta table of ${name} was replaced or created anew (its id was ${start.tableId}, now it is ${table.id}): its versions no longer continue what was published.`,
      remedy: `Load the table anew: \`deltaferry backfill ${name}\`.`,
    });
  if (!table.changeDataFeed)
    throw new OperatorError({
      code: 'DELTA_FEED_DISABLED',
      message: `The Delta table of ${name} does not record its changes.`,
      remedy: `Set delta.enableChangeDataFeed = true on it, then \`deltaferry backfill ${name}\`.`,
    });
}
