import type { Row } from '../../src/change/change.ts';
import { FencedError, PoisonError } from '../../src/errors.ts';
import type { MergePart, MergeSink } from '../../src/ports/merge-sink.ts';

export interface FakeMergeSink extends MergeSink {
  /** The table: canonical key → row. */
  readonly rows: ReadonlyMap<string, Row>;
  readonly offsets: ReadonlyMap<number, bigint>;
  /** The parts of each merge, in the order in which they were committed. */
  readonly merges: readonly (readonly MergePart[])[];
  /** How often `optimize` was called. */
  readonly optimized: number;
}

export interface FakeMergeSinkOptions {
  /** A value that the table can never store, in any column. */
  readonly unstorable?: string;
  /** Called when a merge is about to be committed. */
  readonly onMerge?: (parts: readonly MergePart[]) => void | Promise<void>;
}

/** The table as a map: the offset check, all or nothing, poison by value, one merge at a time. */
export function fakeMergeSink({ unstorable, onMerge }: FakeMergeSinkOptions = {}): FakeMergeSink {
  const rows = new Map<string, Row>();
  const offsets = new Map<number, bigint>();
  const merges: (readonly MergePart[])[] = [];
  let optimized = 0;
  let last: Promise<unknown> = Promise.resolve();

  /** One at a time, in the order of the calls, whatever became of those before. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work, work);
    last = turn.catch(() => undefined);
    return turn;
  }

  function check(parts: readonly MergePart[]): void {
    for (const { partition, expected } of parts)
      if (offsets.get(partition) !== expected)
        throw new FencedError({ code: 'OFFSET_MOVED', message: `${partition} is not at ${expected}` });
    const values = parts.flatMap(({ changes }) => changes.flatMap(({ after }) => after ?? []));
    if (unstorable !== undefined && values.includes(unstorable))
      throw new PoisonError({ code: 'VALUE_REFUSED', message: 'the table refuses a value' });
  }

  function write(parts: readonly MergePart[]): { inserted: number; updated: number; deleted: number } {
    const done = { inserted: 0, updated: 0, deleted: 0 };
    for (const { key, op, after } of parts.flatMap(({ changes }) => changes)) {
      const existed = rows.has(key);
      if (op !== 'delete' && after !== null) {
        rows.set(key, after);
        done[existed ? 'updated' : 'inserted'] += 1;
      } else if (rows.delete(key)) done.deleted += 1;
    }
    return done;
  }

  return {
    rows,
    offsets,
    merges,
    get optimized() {
      return optimized;
    },
    async claim(partitions, startAt) {
      for (const partition of partitions)
        if (!offsets.has(partition)) offsets.set(partition, startAt(partition));
      return new Map(partitions.map((partition) => [partition, offsets.get(partition) ?? 0n]));
    },
    merge: (parts, signal) =>
      inTurn(async () => {
        signal.throwIfAborted();
        check(parts);
        await onMerge?.(parts);
        signal.throwIfAborted();
        const done = write(parts);
        for (const { partition, next } of parts) offsets.set(partition, next);
        merges.push(parts);
        const empty = parts.every(({ changes }) => changes.length === 0);
        return { ...done, conflicts: 0, sent: empty ? 'nothing' : 'inline' };
      }),
    async optimize() {
      optimized += 1;
    },
    close: async () => undefined,
  };
}
