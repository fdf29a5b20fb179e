import { setTimeout as delay } from 'node:timers/promises';
import type { TableMapping } from '../../change/table.ts';
import { FencedError, TransientError } from '../../errors.ts';
import type { MergeLedger, MergeTurn, OffsetMove } from '../../ports/merge-ledger.ts';
import { HeldByLoadError } from '../../ports/history-sink.ts';
import type { Merged, MergePart, MergeSink } from '../../ports/merge-sink.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import type { Databricks } from './client.ts';
import { createEpochFence, epochsTableOf } from './merge-epoch.ts';
import { createMergeHistory } from './merge-history.ts';
import { markText, plainName } from './merge-mark.ts';
import { createMergeSettlement } from './merge-settlement.ts';
import { createMergeSource, type MergeSource } from './merge-source.ts';
import { createMergeStatement, type Counts } from './merge-statement.ts';
import { createStaging } from './staging.ts';

export interface DeltaMergeSinkOptions {
  /** Shared with others; `close` leaves it open. */
  readonly client: Databricks;
  /** Of this sink alone; closed with it. */
  readonly ledger: MergeLedger;
  /** The Delta table: `schema.table` or `catalog.schema.table`. */
  readonly table: string;
  readonly mapping: TableMapping;
  /** Names this sink in the table's history; another sink of the same table must have another name. */
  readonly sink: string;
  /** Folder in a volume for large merges, such as `/Volumes/main/default/deltaferry`. */
  readonly stagingVolume?: string | undefined;
  /** Rows of at most so many bytes go with the statement; default 2 MB. */
  readonly inlineBytes?: number | undefined;
  /** Longest run of one MERGE; default 900,000. */
  readonly mergeTimeoutMs?: number | undefined;
  /** How often others' commits may make a merge begin again; default 5. */
  readonly conflictRetries?: number | undefined;
  /** Longest wait for the turn when claiming; default 120,000. */
  readonly claimTimeoutMs?: number | undefined;
  /** 0 to 1, for the waits after a conflict. */
  readonly random?: (() => number) | undefined;
}

const DEFAULTS = {
  inlineBytes: 2_000_000,
  mergeTimeoutMs: 900_000,
  conflictRetries: 5,
  claimTimeoutMs: 120_000,
};
const CONFLICT_WAIT_MS = 100;

/**
 * Merges into one Delta table, exactly once. The ledger in Postgres has the offsets and at most one
 * pending merge; every MERGE leaves its mark in the table's history and bears an epoch. Who finds a
 * pending merge advances the epoch in Delta first, which ends whatever is still running, then looks
 * whether it landed, and advances the ledger's epoch last (docs/SPEC.md, "Into Delta").
 */
export function createDeltaMergeSink(options: DeltaMergeSinkOptions): MergeSink {
  const { client, ledger, table, mapping, sink } = options;
  const fence = createEpochFence(client, table, sink);
  const history = createMergeHistory(client, table, sink);
  const staging =
    options.stagingVolume === undefined
      ? null
      : createStaging(client, `${options.stagingVolume}/${plainName(sink)}`);
  const source = createMergeSource({
    mapping,
    staging,
    inlineBytes: options.inlineBytes ?? DEFAULTS.inlineBytes,
  });
  const statement = createMergeStatement({
    client,
    sink,
    target: { mapping, table, epochs: epochsTableOf(table) },
    timeoutMs: options.mergeTimeoutMs ?? DEFAULTS.mergeTimeoutMs,
  });
  const settlement = createMergeSettlement({ fence, history, staging });
  const conflictRetries = options.conflictRetries ?? DEFAULTS.conflictRetries;
  const random = options.random ?? Math.random;
  let markSeen = false;
  /** The last merge met a load: rows are not staged again and again while it lasts. */
  let held = false;

  async function refuseHeld(): Promise<void> {
    const load = await ledger.heldBy();
    if (load !== null) throw new HeldByLoadError(load, table);
    held = false;
  }

  async function inTurn<T>(signal: AbortSignal, work: (turn: MergeTurn) => Promise<T>): Promise<T> {
    const turn = await ledger.turn(signal);
    try {
      return await work(turn);
    } finally {
      await turn.release();
    }
  }

  async function mergeInTurn(
    turn: MergeTurn,
    moves: readonly OffsetMove[],
    rows: MergeSource,
    signal: AbortSignal,
  ): Promise<Merged> {
    const stop = AbortSignal.any([signal, turn.lost]);
    const { epoch } = await settlement.settled(turn, stop);
    stop.throwIfAborted();
    const next = new Map(moves.map((move) => [move.partition, move.next]));
    const mark = markText(sink, { epoch, offsets: next });
    await turn.begin(epoch, mark, moves);
    const { counts, conflicts } = await runDespiteConflicts(turn, { epoch, mark, rows, signal: stop });
    await refuseFenced(counts, epoch, stop);
    await turn.finish(mark, next);
    if (!markSeen && counts.affected > 0) {
      await history.mustShow(mark, stop);
      markSeen = true;
    }
    return {
      inserted: counts.inserted,
      updated: counts.updated,
      deleted: counts.deleted,
      conflicts,
      sent: rows.file === null ? 'inline' : 'staged',
    };
  }

  /** Whatever is thrown, the merge stays pending unless it certainly never happened. */
  async function runDespiteConflicts(
    turn: MergeTurn,
    merge: { epoch: bigint; mark: string; rows: MergeSource; signal: AbortSignal },
  ): Promise<{ counts: Counts; conflicts: number }> {
    for (let conflicts = 0; ; conflicts++) {
      try {
        return { counts: await statement.run(merge), conflicts };
      } catch (error) {
        if (!statement.neverLanded(error)) throw error;
        const isConflict = error instanceof TransientError && error.code === 'DELTA_CONFLICT';
        if (!isConflict || conflicts === conflictRetries || merge.signal.aborted) {
          await turn.forget(merge.mark).catch(() => {});
          throw error;
        }
      }
      const waitMs = CONFLICT_WAIT_MS * 2 ** conflicts * (0.5 + random());
      await delay(waitMs, undefined, { signal: merge.signal }).catch(() => {});
    }
  }

  /** Nothing changed, by its rows or by the epoch? It never goes back, so asking now will do. */
  async function refuseFenced(counts: Counts, epoch: bigint, signal: AbortSignal): Promise<void> {
    if (counts.affected > 0 || (await fence.read(signal)) === epoch) return;
    settlement.doubt();
    throw new FencedError({
      code: 'EPOCH_MOVED',
      message: `Epoch ${epoch} of ${sink} in ${table} is over: another process merges, or the control schema was restored.`,
    });
  }

  return {
    async claim(partitions, startAt, signal) {
      const starts = new Map(partitions.map((partition) => [partition, startAt(partition)]));
      let state = await ledger.claim(starts);
      if (!settlement.isSettled(state))
        state = await withPatience(options, signal, (patience) =>
          inTurn(patience, (turn) => settlement.settled(turn, signal)),
        );
      return new Map(partitions.map((partition) => [partition, state.offsets.get(partition) ?? 0n]));
    },

    async merge(parts, signal) {
      signal.throwIfAborted();
      const moves = parts.map(({ partition, expected, next }) => ({ partition, expected, next }));
      const changes = parts.flatMap((part: MergePart) => part.changes);
      if (changes.length === 0) {
        if (moves.length > 0) await ledger.move(moves);
        return { inserted: 0, updated: 0, deleted: 0, conflicts: 0, sent: 'nothing' };
      }
      if (held) await refuseHeld();
      // Beside a merge of another replica, not within the turn.
      const rows = await source.prepare(parts, signal);
      try {
        return await inTurn(signal, (turn) => mergeInTurn(turn, moves, rows, signal));
      } catch (error) {
        held = error instanceof HeldByLoadError;
        throw error;
      } finally {
        source.discard(rows);
      }
    },

    async optimize(signal) {
      const turn = await ledger.turnIfFree();
      if (turn === null) return;
      try {
        if ((await turn.state()).pending !== null) return;
        await client.query({
          sql: `OPTIMIZE ${quoteDatabricksQualified(table)}`,
          doing: 'putting small files together',
          table,
          timeoutMs: options.mergeTimeoutMs ?? DEFAULTS.mergeTimeoutMs,
          signal: signal === undefined ? turn.lost : AbortSignal.any([signal, turn.lost]),
        });
      } finally {
        await turn.release();
      }
    },

    async close() {
      await source.close();
      await ledger.close();
    },
  };
}

/** The work with a signal that aborts when a claim has waited long enough, too. */
async function withPatience<T>(
  { table, claimTimeoutMs = DEFAULTS.claimTimeoutMs }: DeltaMergeSinkOptions,
  signal: AbortSignal | undefined,
  work: (patience: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const busy = new TransientError({
    code: 'MERGE_BUSY',
    message: `Another replica has been merging into ${table} for ${claimTimeoutMs / 1000} s.`,
  });
  const timer = setTimeout(() => deadline.abort(busy), claimTimeoutMs);
  try {
    return await work(signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]));
  } finally {
    clearTimeout(timer);
  }
}
