import { orAborted } from '../flow/abortable.ts';
import { createFeedBatcher, type FeedBatch } from '../flow/feed-batch.ts';
import { standingOf, toStore, type FeedStanding } from '../flow/feed-jump.ts';
import { createCatchUp } from './delta-feed-catch-up.ts';
import type { Published, SessionDeps } from './delta-feed-deps.ts';
import { checkTable, FEED_STOPS, jumpToLoad, startingPoint, stillAwaited } from './delta-feed-start.ts';
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
  const durable: Durable = { standing: standingOf(await deps.log.open()) };
  try {
    await follow(deps, durable, signal);
  } catch (error) {
    if (!signal.aborted) await noteStop(deps, FEED_STOPS, toStore(durable.standing), error);
    throw error;
  }
}

/** What the log holds. */
interface Durable {
  standing: FeedStanding;
}

async function follow(deps: SessionDeps, durable: Durable, signal: AbortSignal): Promise<void> {
  const { source, log, mapping, options, clock } = deps;
  let table = await orAborted(source.describe(), signal);
  const { start, moved, jump } = await startingPoint(deps, durable.standing, table);
  const look = async (): Promise<void> => {
    table = await orAborted(source.describe(), signal);
    checkTable(table, start, mapping.name);
  };
  checkTable(table, start, mapping.name);
  deps.onOpened();
  // Whoever waits for the feed to have passed the load's version sees that it has.
  if (moved) {
    await log.publish({ changes: [], rejected: [], position: toStore({ position: { ...start }, jump }) });
    durable.standing = { position: { ...start }, jump };
  } else durable.standing = { ...durable.standing, jump };
  const standingAt = ({ position }: FeedBatch): FeedStanding => ({
    position: { ...position },
    jump: durable.standing.jump,
  });

  let published = start.version;
  const publisher = createPublisher<FeedBatch>(
    (batch) => log.publish({ ...batch, position: toStore(standingAt(batch)) }),
    (batch) => {
      deps.onPublished?.(publishedOf(batch, published));
      published = batch.position.version;
      durable.standing = standingAt(batch);
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
  let askedAt = clock.now();
  /** The history is asked, as the table itself would answer late or not know more. */
  let busy = false;
  let slow = false;
  try {
    while (!signal.aborted) {
      publisher.check();
      if (durable.standing.jump !== null && clock.now() - askedAt >= options.recheckMs) {
        const awaited = await orAborted(stillAwaited(deps, durable.standing.jump), signal);
        durable.standing = { ...durable.standing, jump: awaited };
        askedAt = clock.now();
      }
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
    await jumpToLoad(deps, error, table.id, batcher.next(), durable.standing);
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
