import type { Change } from '../change/change.ts';
import { keyOf } from '../change/key.ts';
import type { TableMapping } from '../change/table.ts';
import { reactionTo } from '../error-policy.ts';
import { BugError, PoisonError } from '../errors.ts';
import { progressPosition } from '../flow/load-manifest.ts';
import { persist } from '../flow/persist.ts';
import type { Position, RejectedChange } from '../ports/change-log.ts';
import type {
  PinnedVersion,
  PublishedSoFar,
  SnapshotPart,
  SnapshotRow,
  SnapshotSource,
} from '../ports/load.ts';
import { openedFor, type SharedTopic } from './load-claim.ts';
import { createPublisher } from './publisher.ts';

export interface LoadPublisherOptions extends SharedTopic {
  readonly load: string;
  readonly pinned: PinnedVersion;
  readonly pieces: readonly string[];
  readonly mapping: TableMapping;
  /** Origin id of the rows. */
  readonly origin: string;
  readonly source: Pick<SnapshotSource, 'read'>;
  /** Waits until there is room for more. */
  readonly room: (published: PublishedSoFar, signal: AbortSignal) => Promise<void>;
  /** So much is on the topic. */
  readonly onPublished: (published: PublishedSoFar) => void;
  /** So much is read, with what earlier processes have published. */
  readonly onRead: (rows: number) => void;
  readonly onRetry?: ((error: unknown) => void) | undefined;
  readonly random?: (() => number) | undefined;
}

interface Batch extends PublishedSoFar {
  readonly changes: readonly Change[];
  readonly rejectedChanges: readonly RejectedChange[];
}

/**
 * Publishes the pieces of a load in order, each part in one transaction with the place behind it: whoever goes on
 * finds there what is published, and a row is on the topic once. The next part is read meanwhile.
 */
export async function publishLoad(
  options: LoadPublisherOptions,
  signal: AbortSignal,
): Promise<PublishedSoFar> {
  const { load, pieces, source, pinned, log, postgresId } = options;
  const changesOf = batchOf(options);

  async function attempt(alive: () => void): Promise<PublishedSoFar> {
    let done = publishedSoFar(await openedFor(options, load));
    options.onPublished(done);
    const publisher = createPublisher<Batch>(
      ({ changes, rejectedChanges, ...so }) =>
        log.publish({
          changes,
          rejected: rejectedChanges,
          position: progressPosition({ load, postgresId }, so),
        }),
      ({ parts, at, rows, rejected }) => {
        alive();
        options.onPublished({ parts, at, rows, rejected });
      },
    );
    const rest = { pieces: pieces.slice(done.parts), at: done.at };
    const reading = source.read(rest, pinned, signal)[Symbol.asyncIterator]();
    try {
      let ahead = next(reading);
      while (done.parts < pieces.length) {
        const { value, done: isOver } = await ahead;
        if (isOver === true) throw tooFewPieces(done.parts, pieces.length);
        ahead = next(reading);
        const { rows, at } = value;
        options.onRead(done.rows + done.rejected + rows.length);
        const { changes, rejectedChanges } = changesOf(rows);
        done = {
          parts: done.parts + (at === null ? 1 : 0),
          at,
          rows: done.rows + changes.length,
          rejected: done.rejected + rejectedChanges.length,
        };
        await options.room(done, signal);
        signal.throwIfAborted();
        await publisher.send({ changes, rejectedChanges, ...done });
      }
    } finally {
      await publisher.settled();
      // What is being read goes on until it sees that nobody waits for it any more.
      reading.return?.().catch(() => {});
    }
    publisher.check();
    return done;
  }

  function next(
    reading: AsyncIterator<SnapshotPart, unknown>,
  ): Promise<IteratorResult<SnapshotPart, unknown>> {
    const ahead = reading.next();
    // Awaited in its turn; until then a failure must not count as unhandled.
    ahead.catch(() => {});
    return ahead;
  }

  return await persist(
    attempt,
    {
      mayPass: (error) => reactionTo(error) === 'retry',
      onRetry: options.onRetry,
      random: options.random ?? Math.random,
    },
    signal,
  );
}

function tooFewPieces(part: number, pieces: number): BugError {
  return new BugError({ code: 'LOAD_PIECES', message: `Reading ended behind piece ${part} of ${pieces}.` });
}

function publishedSoFar({ parts, at, rows, rejected }: Position): PublishedSoFar {
  return {
    parts: Number(parts),
    at: typeof at === 'string' ? at : null,
    rows: Number(rows),
    rejected: Number(rejected),
  };
}

function batchOf({ mapping, pinned, origin, load }: LoadPublisherOptions) {
  const key = keyOf(mapping);
  const reject = (code: string, message: string, payload: string): RejectedChange => ({
    key: '',
    table: mapping.name,
    code,
    message,
    position: pinned.version,
    ts: pinned.ts,
    payload,
  });
  return (rows: readonly SnapshotRow[]) => {
    const changes: Change[] = [];
    const rejectedChanges: RejectedChange[] = [];
    for (const each of rows) {
      if (each.kind === 'invalid') {
        rejectedChanges.push(reject(each.code, each.message, each.payload));
        continue;
      }
      try {
        changes.push({
          op: 'snapshot',
          key: key(each.row),
          before: null,
          after: each.row,
          origin,
          table: mapping.name,
          position: pinned.version,
          ts: pinned.ts,
          tx: null,
          load,
        });
      } catch (error) {
        if (!(error instanceof PoisonError)) throw error;
        rejectedChanges.push(reject(error.code, error.message, JSON.stringify(each.row.map(String))));
      }
    }
    return { changes, rejectedChanges };
  };
}
