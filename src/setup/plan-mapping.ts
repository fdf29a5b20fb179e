import { checkKeyColumns } from '../change/key.ts';
import { DEFAULT_HISTORY_COLUMNS, ownColumns } from '../connections/postgres/history-ddl.ts';
import { captureTargetOf, nameProblem } from './plan-capture.ts';
import type { Step } from './plan.ts';
import type { SetupTable } from './request.ts';

/** What is wrong with the mapping itself, whatever exists; nothing where it is right. */
export function planMapping(table: SetupTable): readonly Step[] {
  const { mapping, historyTable, historyColumns = DEFAULT_HISTORY_COLUMNS } = table;
  const problems: string[] = [];
  try {
    checkKeyColumns(mapping);
  } catch (error) {
    problems.push((error as Error).message);
  }
  if (historyTable !== undefined)
    for (const { name } of ownColumns(historyColumns))
      if (mapping.columns.some((column) => column.name === name))
        problems.push(`column ${name} is one that the history keeps itself; leave it out of the mapping`);
  const target = captureTargetOf(table);
  const tooLong = target === null ? null : nameProblem(mapping.name);
  if (tooLong !== null) problems.push(tooLong);
  return problems.map((detail) => ({ kind: 'mismatch', what: `mapping ${mapping.name}`, detail }));
}
