import { DeltaferryError, OperatorError, PoisonError } from '../../errors.ts';
import type { Load } from '../../ports/load.ts';

/** Throws where the rows beside the table are not all that were published. Duplicates that compaction left show as this, and not as duplicates. */
export function checkComplete(load: Load, rows: number): void {
  if (rows === load.publishedRows) return;
  throw new OperatorError({
    code: 'LOAD_INCOMPLETE',
    message: `The load ${load.id} published ${load.publishedRows} rows, but ${rows} came from topic ${load.topic}.`,
    remedy: `Either something deletes records of ${load.topic} (it must be compacted only, never deleted from), or the ${load.source === 'postgres' ? 'table in Postgres' : 'Delta table'} has several rows of one key, of which compaction leaves one: find which, mend it, then \`deltaferry backfill ${load.name} --restart\`.`,
  });
}

export function duplicateKeys({ name }: Load, keys: readonly string[]): OperatorError {
  return new OperatorError({
    code: 'LOAD_DUPLICATE_KEYS',
    message: `The Delta table of ${name} holds several rows of one key, for instance of ${keys.join(' and ')}.`,
    remedy: `Leave one row of each key in the Delta table, then \`deltaferry backfill ${name} --restart\`.`,
  });
}

/**
 * A row of the load that the target, or the table beside it, does not take: for its value, or for a unique index that is
 * not the history's own. Unlike a change it is not set aside: the version that the load brings stays as it is.
 * Answers other errors as they are.
 */
export function refusedRow({ name, target, source }: Load, error: unknown): unknown {
  if (!(error instanceof PoisonError) && !isUniqueViolation(error)) return error;
  const rows = source === 'postgres' ? 'in Postgres' : 'in the Delta table';
  return new OperatorError({
    code: 'LOAD_ROW_REFUSED',
    message: `Table ${target} does not take a row of the load. ${error.message}`,
    remedy: `Mend what the message names in ${target} (a constraint, an index, the values of an enum), then \`deltaferry backfill ${name} --resume\`; or mend the row ${rows}, then \`--restart\`.`,
    cause: error,
  });
}

export function isUniqueViolation(error: unknown): error is DeltaferryError {
  return error instanceof DeltaferryError && error.code === 'POSTGRES_23505';
}

export function notEmpty({ name, target }: Load): OperatorError {
  return new OperatorError({
    code: 'LOAD_TARGET_NOT_EMPTY',
    message: `Table ${target} was empty when the load began, and has been written to since.`,
    remedy: `Begin anew: \`deltaferry backfill ${name} --restart\` compares its rows with those of the load.`,
  });
}

export function holdsRowsAlready(name: string, target: string): OperatorError {
  return new OperatorError({
    code: 'LOAD_TARGET_HOLDS_ROWS',
    message: `Table ${target} holds rows: only an empty one is loaded from the topic alone.`,
    remedy: `Compare it with Delta (\`deltaferry backfill ${name} --from delta\`), or empty it first.`,
  });
}
