import { orAborted } from '../flow/abortable.ts';
import { createFeedBatcher, type FeedBatch } from '../flow/feed-batch.ts';
import type { Position } from '../ports/change-log.ts';
import { createCatchUp } from './delta-feed-catch-up.ts';
import type { Published, SessionDeps } from './delta-feed-deps.ts';
import { checkTable, FEED_STOPS, jumpToLoad, startingPoint } from './delta-feed-start.ts';
import { createLooks } from './looks.ts';
import { createPublisher } from './publisher.ts';
import { noteStop } from './stops.ts';

/**
 * From opening the log to the first failure, which it throws, or the signal, on which it returns after
 * the transaction in hand. Starts from the log's position: whatever an earlier session had in memory
 * counts for nothing.
 */
export async function followTable(deps: SessionDeps, signal: AbortSignal): Promise<void> {
  // Waited for even when the feed has to end: a log that opened after its close would stay open.
  const durable = { position: await deps.log.open() };
  try {
    await follow(deps, durable, signal);
  } catch (error) {
    if (!signal.aborted) await noteStop(deps, FEED_STOPS, durable.position, error);
    throw error;
  }
}

async function follow(
  deps: SessionDeps,
  durable: { position: Position | null },
  signal: AbortSignal,
): Promise<void> {
  const { source, log, mapping, options, clock } = deps;
  let table = await orAborted(source.describe(), signal);
  const { start, moved } = await startingPoint(deps, durable.position, table);
  const look = async (): Promise<void> => {
    table = await orAborted(source.describe(), signal);
    checkTable(table, start, mapping.name);
  };
  checkTable(table, start, mapping.name);
  deps.onOpened();
  // Whoever waits for the feed to have passed the load's version sees that it has.
  if (moved) {
    await log.publish({ changes: [], rejected: [], position: { ...start } });
    durable.position = { ...start };
  }

  let published = start.version;
  const publisher = createPublisher<FeedBatch>(
    (batch) => log.publish({ ...batch, position: { ...batch.position } }),
    (batch) => {
      deps.onPublished?.(publishedOf(batch, published));
      published = batch.position.version;
      durable.position = { ...batch.position };
    },
  );
  const batcher = createFeedBatcher(start, {
    changes: options.maxBatchChanges,
    bytes: options.maxBatchBytes,
  });
  const catchUp = createCatchUp({ ...deps, start, batcher, publisher, look });
  const lookedInTime = createLooks(look);
  let seenStamp: string | null = null;
  let readAt = 0;
  let movedAt = Number.NEGATIVE_INFINITY;
  let waitMs = options.pollMinMs;
  /** The history is asked, as the table itself would answer late or not know more. */
  let busy = false;
  let slow = false;
  try {
    while (!signal.aborted) {
      publisher.check();
      let found = false;
      const { stamp } = table;
      if (busy || slow) {
        found = await catchUp(signal, 'unseen');
        // A stamp that differs is no news then.
        if (found) seenStamp = null;
      } else if (stamp !== seenStamp || clock.now() - readAt >= options.recheckMs) {
        found = await catchUp(signal, seenStamp !== null && stamp !== seenStamp ? 'stamped' : 'looked');
        seenStamp = stamp;
        readAt = clock.now();
      }
      deps.onAlive();
      if (found) movedAt = clock.now();
      busy = clock.now() - movedAt < options.busyMs;
      if (found) waitMs = options.pollMinMs;
      else waitMs = busy ? options.pollMaxMs : Math.min(options.pollMaxMs, Math.max(1, waitMs) * 2);
      await clock.sleep(waitMs, signal);
      if (signal.aborted) break;
      // Right after a commit it counts the files anew, so that a look which takes long is a sign of one.
      slow = !busy && !(await lookedInTime(signal));
    }
  } catch (error) {
    if (signal.aborted) return;
    await publisher.settled();
    await jumpToLoad(deps, error, table.id, batcher.next());
    throw error;
  } finally {
    await publisher.settled();
  }
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
