import { FencedError } from '../../errors.ts';
import { isUnderWay, phasesBefore, type LoadEvent } from '../../flow/load-state.ts';

/** Whether the load is in a phase that the event may come from, as SQL. */
export function from(event: LoadEvent): string {
  return `phase IN (${listed(phasesBefore(event))})`;
}

/** Whether it is under way, as SQL. */
export const UNDER_WAY = `phase IN (${listed((['snapshot', 'handover', 'live', 'failed'] as const).filter(isUnderWay))})`;

export function notUnderWay(id: string): FencedError {
  return new FencedError({
    code: 'LOAD_ENDED',
    message: `The load ${id} is no longer under way: it was finished or given up meanwhile.`,
  });
}

function listed(phases: readonly string[]): string {
  return phases.map((phase) => `'${phase}'`).join(', ');
}
