import type { CaptureFacts } from '../../src/connections/postgres/captured-table.ts';
import { planSetup, type Existing, type Plan } from '../../src/setup/plan.ts';
import type { SetupRequest, SetupTable } from '../../src/setup/request.ts';
import {
  employees,
  everything,
  goodDelta,
  goodEpochs,
  goodHistory,
  primaryKey,
  uncaptured,
} from './existing-things.ts';

/** A table with one row per key, which nothing captures yet. */
export const plainTable: SetupTable = {
  mapping: employees,
  topic: 'employees_changes',
  captured: { table: 'public.employees', history: null },
};
export const plainColumns = goodHistory.columns.slice(0, 3);
export const plainFacts: CaptureFacts = {
  ...uncaptured,
  table: { ...goodHistory, columns: plainColumns, uniqueIndexes: [{ ...primaryKey, columns: ['emp_id'] }] },
};

/** The plan where all but the capture is there, on both sides. */
export function steps(wanted: SetupRequest, facts: CaptureFacts, existing: Partial<Existing> = {}): Plan {
  const deltas = new Map([
    ['default.employees', goodDelta],
    ['default.deltaferry_epochs', goodEpochs],
  ]);
  return planSetup(wanted, { ...everything, deltas, ...existing, captures: new Map([['employees', facts]]) });
}
