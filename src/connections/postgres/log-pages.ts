import type { Change } from '../../change/change.ts';
import type { RejectedChange } from '../../ports/change-log.ts';
import type { LogPage } from '../../ports/postgres-log.ts';
import type { LogOutcome } from './log-rows.ts';

export interface PageBuilder {
  /** The page that this outcome of so many bytes fills; null as long as there is room. */
  add(outcome: LogOutcome, size: number): LogPage | null;
  /** What is left; null for nothing. */
  end(): LogPage | null;
}

/** Pages of at most so many net changes, and of so many bytes in the log, but for a single larger one. */
export function pageBuilder(limits: { readonly changes: number; readonly bytes: number }): PageBuilder {
  let changes: Change[] = [];
  let rejected: RejectedChange[] = [];
  let bytes = 0;
  let last = 0n;

  function end(): LogPage | null {
    if (changes.length + rejected.length === 0) return null;
    const page = { changes, rejected, last, bytes };
    changes = [];
    rejected = [];
    bytes = 0;
    return page;
  }

  return {
    add(outcome, size) {
      if (outcome.kind === 'change') changes.push(outcome.change);
      else rejected.push(outcome.rejection);
      last = outcome.position;
      bytes += size;
      return changes.length + rejected.length >= limits.changes || bytes >= limits.bytes ? end() : null;
    },
    end,
  };
}
