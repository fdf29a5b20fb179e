import { OperatorError } from '../errors.ts';
import type { LoadOnTopic } from '../flow/load-manifest.ts';
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

export function ofOtherTarget(name: string, { load, postgresId }: LoadOnTopic): OperatorError {
  return new OperatorError({
    code: 'LOAD_OTHER_TARGET',
    message: `The load ${load} of ${name}, begun by ${targetOf(postgresId)}, is unfinished: both would publish to one topic, and each replace records that the other needs.`,
    remedy: `Wait for it, or have it gone on with or given up there (\`deltaferry backfill ${name} --resume\` or \`--give-up\`). If that target is no more, or not to be loaded, \`deltaferry backfill ${name} --restart\` here takes its place.`,
  });
}

/** \`by\`: null where the topic of positions was lost. */
export function replaced(name: string, load: string, by: LoadOnTopic | null): OperatorError {
  return new OperatorError({
    code: 'LOAD_TOPIC_REPLACED',
    message:
      by === null
        ? `The topic of positions knows nothing of load ${load} of ${name} any more: what of it is published is not known.`
        : `The load ${by.load} of ${name}, begun by ${targetOf(by.postgresId)}, has taken the place of load ${load} on their topic, and replaces its records.`,
    remedy:
      by === null
        ? `Begin anew: \`deltaferry backfill ${name} --restart\`.`
        : `Once that load has finished, begin anew: \`deltaferry backfill ${name} --restart\`. Before that this one would take its place in turn.`,
  });
}

function targetOf(postgresId: string | null): string {
  return postgresId === null ? 'another target' : `target ${postgresId}`;
}
