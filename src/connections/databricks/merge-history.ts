import { OperatorError } from '../../errors.ts';
import type { LedgerState } from '../../ports/merge-ledger.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import type { Databricks, DatabricksRow } from './client.ts';
import { commitMark } from './commit-mark.ts';
import { isCovered, parseMark } from './merge-mark.ts';

export interface MergeHistory {
  /**
   * The next offsets by the merges in the table's history that the ledger does not know to have landed;
   * of each partition the furthest.
   */
  unknownTo(ledger: LedgerState, signal?: AbortSignal): Promise<ReadonlyMap<number, bigint>>;
  /** Throws an OperatorError unless one of the newest commits bears the mark. */
  mustShow(mark: string, signal?: AbortSignal): Promise<void>;
}

const FIRST_LIMIT = 30;
const GROWTH = 20;
/** How far back a sink that merged nothing yet is looked for. */
const MOST_UNRELATED = 10_000;
/** More than the clocks of Postgres and the store can differ. */
const CLOCKS_MS = 24 * 3_600_000;

export function createMergeHistory(client: Databricks, table: string, sink: string): MergeHistory {
  async function newest(limit: number, signal?: AbortSignal): Promise<readonly DatabricksRow[]> {
    const sql = `DESCRIBE HISTORY ${quoteDatabricksQualified(table)} LIMIT ${limit}`;
    return client.query({ sql, doing: 'looking for merges in the history', table, signal });
  }

  return {
    async unknownTo(ledger, signal) {
      for (let limit = FIRST_LIMIT; ; limit *= GROWTH) {
        const commits = await newest(limit, signal);
        const { offsets, complete } = collect(sink, ledger, commits);
        if (complete || commits.length < limit) return offsets;
      }
    },

    async mustShow(mark, signal) {
      const commits = await newest(FIRST_LIMIT * GROWTH, signal);
      if (commits.some((commit) => commitMark(commit) === mark)) return;
      throw new OperatorError({
        code: 'MERGE_LEFT_NO_MARK',
        message: `A MERGE into ${table} did not leave its condition in the table's history: after a lost answer nobody could tell whether it happened.`,
        remedy: `Look at operationParameters in DESCRIBE HISTORY ${quoteDatabricksQualified(table)}: it must show the condition of each MERGE; use a warehouse that writes it.`,
      });
    },
  };
}

/**
 * Merges follow one another, and the ledger knows them up to one of them: so the newest that it knows
 * ends the search. Those of an older epoch were settled when the epoch was advanced.
 */
function collect(
  sink: string,
  ledger: LedgerState,
  commits: readonly DatabricksRow[],
): { readonly offsets: Map<number, bigint>; readonly complete: boolean } {
  const offsets = new Map<number, bigint>();
  for (const commit of commits) {
    if (ledger.pending !== null && isBefore(commit, ledger.pending.since)) return { offsets, complete: true };
    const text = commitMark(commit);
    const mark = text === null ? null : parseMark(sink, text);
    if (mark === null) continue;
    if (mark.epoch < ledger.epoch || isCovered(mark, ledger.offsets)) return { offsets, complete: true };
    for (const [partition, next] of mark.offsets)
      if (next > (offsets.get(partition) ?? -1n)) offsets.set(partition, next);
  }
  const unrelated = ledger.pending === null && offsets.size === 0;
  return { offsets, complete: unrelated && commits.length >= MOST_UNRELATED };
}

function isBefore({ timestamp }: DatabricksRow, since: Date): boolean {
  return timestamp instanceof Date && timestamp.getTime() < since.getTime() - CLOCKS_MS;
}
