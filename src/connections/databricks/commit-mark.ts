import { textOf } from './client.ts';

/** A commit as `DESCRIBE HISTORY` shows it; drivers differ in how they give the map. */
export interface HistoryRow {
  readonly operation?: unknown;
  readonly operationParameters?: unknown;
  readonly userMetadata?: unknown;
}

const MARK = /deltaferry\/[^)'"\]\\]+/;

/**
 * The mark a sink of ours left: a literal in the condition of its MERGE, or the commit's user metadata.
 * Only a MERGE's condition counts: in that of an UPDATE or DELETE such a text would be a user's value.
 */
export function commitMark({ operation, operationParameters, userMetadata }: HistoryRow): string | null {
  const condition = operation === 'MERGE' ? MARK.exec(predicateOf(operationParameters)) : null;
  const found = condition ?? (typeof userMetadata === 'string' ? MARK.exec(userMetadata) : null);
  return found === null ? null : found[0].trimEnd();
}

function predicateOf(parameters: unknown): string {
  if (typeof parameters === 'string') return parameters;
  if (parameters instanceof Map) return textOf(parameters.get('predicate'));
  if (typeof parameters === 'object' && parameters !== null && 'predicate' in parameters)
    return textOf(parameters.predicate);
  return '';
}
