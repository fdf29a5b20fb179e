import { DeltaferryError, TransientError } from '../../errors.ts';
import type { Databricks, DatabricksRow } from './client.ts';
import type { DatabricksWhere } from './errors.ts';
import { mergeSql, type MergeSqlOptions } from './merge-sql.ts';
import type { MergeSource } from './merge-source.ts';

export interface Counts {
  readonly affected: number;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
}

export interface MergeStatement {
  run(merge: {
    readonly epoch: bigint;
    readonly mark: string;
    readonly rows: MergeSource;
    readonly signal: AbortSignal;
  }): Promise<Counts>;
  /** Whether the merge that failed with this error certainly changed nothing, and will not either. */
  neverLanded(error: unknown): boolean;
}

export interface MergeStatementOptions {
  readonly client: Databricks;
  readonly sink: string;
  readonly target: MergeSqlOptions;
  readonly timeoutMs: number;
}

export function createMergeStatement(options: MergeStatementOptions): MergeStatement {
  const { client, sink, target, timeoutMs } = options;
  const inlineSql = mergeSql(target, null);
  const where: DatabricksWhere = {
    doing: 'merging changes',
    table: target.table,
    mapping: target.mapping.name,
    columns: target.mapping.columns.map(({ name }) => name),
  };

  return {
    async run({ epoch, mark, rows, signal }) {
      const [row] = await client
        .query({
          ...where,
          sql: rows.file === null ? inlineSql : mergeSql(target, rows.file),
          params: { sink, epoch, ferry: mark, ...(rows.file === null ? { rows: rows.inline } : {}) },
          timeoutMs,
          signal,
        })
        .catch((error: unknown) => {
          throw isGone(rows.file, error) ? stagedFileGone(rows.file, error) : error;
        });
      return countsOf(row);
    },

    neverLanded,
  };
}

/** Whether a merge that failed with this error certainly changed nothing, and will not either. */
export function neverLanded(error: unknown): boolean {
  return error instanceof DeltaferryError && BEFORE_THE_COMMIT.has(error.code);
}

/**
 * What the engine says before it commits. Any other failure may come later: a session, a login or a
 * connection may end while the statement goes on.
 */
const BEFORE_THE_COMMIT = new Set([
  'DELTA_CONFLICT',
  'DELTA_WRITE_FAILED',
  'DELTA_TABLE_MISSING',
  'DELTA_COLUMN_MISSING',
  'DATABRICKS_DENIED',
  'DELTA_VALUE_REFUSED',
  'DELTA_DUPLICATE_KEYS',
  'STAGED_FILE_GONE',
]);

function isGone(file: string | null, error: unknown): file is string {
  const name = file?.split('/').at(-1);
  return (
    name !== undefined &&
    error instanceof DeltaferryError &&
    error.code === 'DELTA_VERSIONS_GONE' &&
    error.message.includes(name)
  );
}

function stagedFileGone(file: string, cause: unknown): TransientError {
  return new TransientError({
    code: 'STAGED_FILE_GONE',
    message: `The staged file ${file} was removed before it was merged.`,
    cause,
  });
}

export function countsOf(row: DatabricksRow | undefined): Counts {
  const count = (name: string): number => Number(row?.[name] ?? 0);
  return {
    affected: count('num_affected_rows'),
    inserted: count('num_inserted_rows'),
    updated: count('num_updated_rows'),
    deleted: count('num_deleted_rows'),
  };
}
