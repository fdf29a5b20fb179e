import { OperatorError } from '../errors.ts';
import type { Load, LoadHandover, Reconciled } from '../ports/load.ts';
import type { DeltaLoad, LoadFile, LoadFiles } from '../ports/load-into-delta.ts';

export interface LoadIntoDeltaOptions {
  readonly files: (load: Load) => LoadFiles;
  readonly delta: (load: Load) => DeltaLoad;
  /** Ends a statement that runs. */
  readonly signal: AbortSignal;
}

/** Staged files, one slice after the other, then the rows that are no more; and live changes go on. */
export function createLoadIntoDelta({ files, delta, signal: ending }: LoadIntoDeltaOptions): LoadHandover {
  async function merged(
    load: Load,
    onDone: (rows: number) => void,
    signal: AbortSignal,
  ): Promise<Reconciled> {
    const known = files(load);
    const table = delta(load);
    const total = { added: 0, corrected: 0, ended: 0 };
    const staged = await known.complete();
    if (staged.length === 0 && load.way === 'reconcile') throw nothingToLoad(load);
    let done = 0;
    // What is added to an empty table is added at once; else a commit of others would undo too much work.
    const statements = Map.groupBy(staged, ({ slice }) => (load.way === 'fill' ? 0 : slice));
    for (const some of statements.values()) {
      if (!some.every((file) => file.merged)) {
        const { added, corrected } = await table.merge(load, some, signal);
        await known.merged(some);
        total.added += added;
        total.corrected += corrected;
      }
      done += rowsOf(some);
      onDone(done);
    }
    // Which keys were set aside is not known here: what Delta has of them is better kept than lost.
    if (load.way === 'reconcile' && load.rejectedRows === 0)
      total.ended = await table.removeAbsent(load, staged, signal);
    await known.finish();
    return total;
  }

  return {
    async fill(load) {
      await merged(load, () => {}, ending);
    },
    reconcile: (load, onDone, signal) =>
      merged(load, (rows) => onDone(rows, 0), AbortSignal.any([signal, ending])),
  };
}

function rowsOf(files: readonly LoadFile[]): number {
  return files.reduce((sum, { rows }) => sum + rows, 0);
}

function nothingToLoad({ name, target }: Load): OperatorError {
  return new OperatorError({
    code: 'LOAD_SOURCE_EMPTY',
    message: `The table of ${name} in Postgres has no rows, and ${target} in Delta has: the load would delete them all.`,
    remedy: `If that is what is wanted, delete them in Delta; give the load up with \`deltaferry backfill ${name} --give-up\`.`,
  });
}
