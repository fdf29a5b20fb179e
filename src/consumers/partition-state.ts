import { kindOf, remedyFor } from '../error-policy.ts';
import { OperatorError } from '../errors.ts';
import type { PartitionRange } from '../ports/record-stream.ts';

/** How a partition is; what `onState` tells, on every change. */
export type PartitionState =
  | { readonly kind: 'running' }
  /** It will be tried again in a moment. */
  | { readonly kind: 'retrying'; readonly error: unknown }
  /** A person has to act; it is tried again slowly all the same. */
  | { readonly kind: 'stopped'; readonly error: unknown; readonly remedy: string }
  /** A load fills the table; all is well. */
  | { readonly kind: 'waiting for a load' }
  /** It is no longer ours. */
  | { readonly kind: 'released' };

export function stateAfter(error: unknown): PartitionState {
  return kindOf(error) === 'transient'
    ? { kind: 'retrying', error }
    : { kind: 'stopped', error, remedy: remedyFor(error) };
}

/** Where a sink stands on a topic. */
export interface SinkPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly table: string;
  /** What the sink writes, as a person calls it: `the history`. */
  readonly target: string;
  /** Whence a load brings what the sink has missed. */
  readonly loadFrom: 'delta' | 'postgres';
}

/** The error for a person where the topic does not have the sink's offset; it is never reset. */
export function outOfRange(
  { topic, partition, offset, table, target, loadFrom }: SinkPlace,
  { low, high }: PartitionRange,
): OperatorError | null {
  const load = `deltaferry backfill ${table}${loadFrom === 'delta' ? '' : ' --from postgres'}`;
  if (offset < low)
    return new OperatorError({
      code: 'OFFSETS_EXPIRED',
      message: `Topic ${topic} partition ${partition} begins at offset ${low}, ${target} of ${table} is at ${offset}: retention has dropped changes that were not applied.`,
      remedy: `Lengthen retention.ms of ${topic}, then load ${table} anew (\`${load}\`).`,
    });
  if (offset > high)
    return new OperatorError({
      code: 'OFFSETS_BEYOND_END',
      message: `Topic ${topic} partition ${partition} ends at offset ${high}, ${target} of ${table} is at ${offset}: the topic was created anew or restored.`,
      remedy:
        loadFrom === 'delta'
          ? `Restore the topic, or load ${table} anew (\`${load}\`) under another topic name.`
          : `Restore the topic, or let this sink begin at its start (docs/OPERATIONS.md, "What merging leaves in Databricks") and then load ${table} anew (\`${load}\`).`,
    });
  return null;
}
