import { OperatorError } from '../errors.ts';
import type { Load, PinnedVersion, PublishedSoFar } from '../ports/load.ts';

export function alreadyRunning(name: string, load: Load | null): OperatorError {
  const which = load === null ? 'Another process' : `The load ${load.id}, begun at ${load.startedAt},`;
  return new OperatorError({
    code: 'LOAD_RUNNING',
    message: `${which} is loading ${name} at this moment: one load of a table at a time.`,
    remedy: 'Wait for it, or stop that process.',
  });
}

export function alreadyBegun({ id, name, startedAt, publishedRows, pinned, error }: Load): OperatorError {
  const of = pinned === null ? '' : ` of ${pinned.rows}`;
  return new OperatorError({
    code: 'LOAD_UNFINISHED',
    message: `The load ${id} of ${name}, begun at ${startedAt}, is unfinished: ${publishedRows}${of} rows are published${error === null ? '' : `; it stopped with: ${error}`}.`,
    remedy: `Go on with it (\`deltaferry backfill ${name} --resume\`), or begin anew (\`--restart\`).`,
  });
}

export function nothingToResume(name: string, newest: Load | null): OperatorError {
  const last =
    newest === null ? 'it has never been loaded' : `its newest load, ${newest.id}, is ${newest.phase}`;
  return new OperatorError({
    code: 'LOAD_NONE',
    message: `No load of ${name} is under way: ${last}.`,
    remedy: `Begin one: \`deltaferry backfill ${name}\`.`,
  });
}

export function notAllRead(
  { name, pinned }: Load & { readonly pinned: PinnedVersion },
  published: PublishedSoFar,
): OperatorError {
  return new OperatorError({
    code: 'LOAD_READ_INCOMPLETE',
    message: `Version ${pinned.version} of the Delta table of ${name} holds ${pinned.rows} rows, but ${published.rows + published.rejected} were read.`,
    remedy: `Find what removes exported files from the staging volume, then \`deltaferry backfill ${name} --restart\`.`,
  });
}
