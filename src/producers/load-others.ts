import { OperatorError } from '../errors.ts';
import type { Load, OthersWay } from '../ports/load.ts';
import { trying, type BackfillDeps } from './backfill-deps.ts';

/**
 * Throws an OperatorError where people have changed a row in another Postgres before the load's version, and that
 * does not have it. The older change would not count beside the load's row; and its merge into Delta, which comes
 * later, is no change of Delta's that anybody tells of.
 */
export async function refuseCrossed(
  deps: Pick<BackfillDeps, 'name' | 'onRetry' | 'random'> & { readonly others?: OthersWay | undefined },
  { source, captured, pinned, liveOffsets }: Load,
  signal: AbortSignal,
): Promise<void> {
  const { name, others } = deps;
  if (others === undefined || source !== 'delta' || captured || pinned === null || liveOffsets === null)
    return;
  const key = await trying(deps, signal, () => others.earlier({ ts: pinned.ts, liveOffsets }, signal));
  if (key === null) return;
  throw new OperatorError({
    code: 'LOAD_CONCURRENT',
    message: `As version ${pinned.version} of the Delta table of ${name} came to be, somebody was changing rows in another Postgres, for instance ${key.slice(0, 80)}: that change is older than the version and not in it, or was not known to be. This target would keep the row from before it.`,
    remedy: `Once delta-merge of that deployment has caught up (\`deltaferry status\` there shows it), and while nobody is in the middle of changing rows there, begin anew: \`deltaferry backfill ${name} --restart\`. If it is refused all the same, Kafka has forgotten the consumer group of delta-merge, which then has to run once more, or does not let this principal describe it.`,
  });
}
