import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Databricks, Statement } from '../../../src/connections/databricks/client.ts';
import { createDeltaMergeSink } from '../../../src/connections/databricks/delta-merge-sink.ts';
import type { LedgerState, MergeLedger, MergeTurn } from '../../../src/ports/merge-ledger.ts';
import { EMPLOYEES } from '../postgres/employees.ts';
import { upsert } from './merge-sinks.ts';

interface Case {
  readonly name: string;
  /** The statement that the warehouse never answers, and the how manieth like it that is. */
  readonly hangs: RegExp;
  readonly at?: number;
  /** Rows that the MERGE says it changed. */
  readonly affected?: number;
  readonly pending?: boolean;
}

const cases: readonly Case[] = [
  { name: 'rows are uploaded', hangs: /^PUT / },
  { name: 'the epoch is compared', hangs: /^SELECT max\(epoch\)/ },
  { name: 'an older merge is fenced off', hangs: /^MERGE INTO .*deltaferry_epochs/, pending: true },
  { name: 'an older merge that runs is ended', hangs: /^ALTER TABLE/, pending: true },
  { name: 'older merges are looked for', hangs: /^DESCRIBE HISTORY/ },
  { name: 'what older merges left is looked for', hangs: /^LIST / },
  { name: 'rows are merged', hangs: /^MERGE INTO .*:ferry/ },
  {
    name: 'a merge that changed nothing asks for the epoch',
    hangs: /^SELECT max\(epoch\)/,
    at: 2,
    affected: 0,
  },
  { name: 'the mark of a merge is looked for', hangs: /^DESCRIBE HISTORY/, at: 2 },
];

describe('a warehouse that hangs does not hold up who stops', () => {
  for (const each of cases)
    it(`while ${each.name}`, { timeout: 10_000 }, async () => {
      const { client, reached } = hanging(each);
      const sink = createDeltaMergeSink({
        client,
        ledger: ledgerOf(each.pending === true),
        table: 'hr.employees',
        mapping: EMPLOYEES,
        sink: 'employees',
        stagingVolume: '/Volumes/main/hr/ferry',
        inlineBytes: 0,
      });
      const stopping = new AbortController();
      const change = upsert('1', [1, 'Ann', '1.00']);
      const merging = sink.merge(
        [{ partition: 0, expected: 0n, next: 1n, changes: [change] }],
        stopping.signal,
      );
      await Promise.race([reached, merging]);
      const reason = new Error('stopping');
      stopping.abort(reason);
      await assert.rejects(merging, reason);
    });
});

/** It answers whatever else it is asked. */
function hanging({ hangs, at = 1, affected = 1 }: Case): { client: Databricks; reached: Promise<void> } {
  const { promise: reached, resolve: onReached } = Promise.withResolvers<void>();
  let seen = 0;
  async function query({ sql, signal }: Statement): Promise<Record<string, unknown>[]> {
    if (hangs.test(sql) && ++seen === at) {
      onReached();
      await new Promise<never>((_, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
    }
    if (sql.startsWith('SELECT max(epoch)')) return [{ epoch: 3n }];
    if (sql.includes(':ferry')) return [{ num_affected_rows: affected }];
    return [];
  }
  const client: Databricks = {
    query,
    async *stream() {},
    close: async () => {},
  };
  return { client, reached };
}

function ledgerOf(isPending: boolean): MergeLedger {
  const pending = isPending ? { mark: 'deltaferry/employees e3 0:1', since: new Date() } : null;
  let state: LedgerState = { epoch: 3n, pending, offsets: new Map([[0, 0n]]) };
  const turn: MergeTurn = {
    lost: new AbortController().signal,
    state: async () => state,
    begin: async () => {},
    finish: async () => {},
    forget: async () => void (state = { ...state, pending: null }),
    raise: async () => {},
    advance: async () => {},
    release: async () => {},
  };
  return {
    claim: async () => state,
    move: async () => {},
    heldBy: async () => null,
    turn: async () => turn,
    turnIfFree: async () => turn,
    close: async () => {},
  };
}
