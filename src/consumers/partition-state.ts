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
}

/** The error for a person where the topic does not have the sink's offset; it is never reset. */
export function outOfRange(
  { topic, partition, offset, table, target }: SinkPlace,
  { low, high }: PartitionRange,
): OperatorError | null {
  if (offset < low)
    return new OperatorError({
      code: 'OFFSETS_EXPIRED',
      message: `Topic ${topic} partition ${partition} begins at offset ${low}, ${target} of ${table} is at ${offset}: retention has dropped changes that were not applied.`,
      remedy: `Lengthen retention.ms of ${topic}, then load ${table} anew (\`deltaferry backfill ${table}\`).`,
    });
  if (offset > high)
    return new OperatorError({
      code: 'OFFSETS_BEYOND_END',
      message: `Topic ${topic} partition ${partition} ends at offset ${high}, ${target} of ${table} is at ${offset}: the topic was created anew or restored.`,
      remedy: `Restore the topic, or load ${table} anew (\`deltaferry backfill ${table}\`) under another topic name.`,
    });
  return null;
}
