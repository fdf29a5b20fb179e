import type { DeltaTableFacts } from '../connections/databricks/delta-table.ts';
import {
  quoteDatabricksIdent,
  quoteDatabricksQualified,
  splitQualified,
} from '../connections/identifiers.ts';
import type { Step } from './plan.ts';
import type { SetupRequest } from './request.ts';

/** Beside the tables that are merged into: which epoch each sink is in. */
const EPOCHS = 'deltaferry_epochs';

/** One per schema that has a table which is merged into. */
export function epochTables({ tables }: SetupRequest): readonly string[] {
  const names = tables.flatMap(({ deltaTable, captured }) => {
    if (deltaTable === undefined || captured === undefined) return [];
    const schema = splitQualified(deltaTable, 'databricks').slice(0, -1);
    return [
      [...schema, EPOCHS].map((part) => (/[.`]/.test(part) ? quoteDatabricksIdent(part) : part)).join('.'),
    ];
  });
  return [...new Set(names)];
}

export function planEpochs(
  wanted: SetupRequest,
  existing: ReadonlyMap<string, DeltaTableFacts | null>,
): readonly Step[] {
  return epochTables(wanted).map((table): Step => {
    const what = `Delta table ${table}`;
    const found = existing.get(table) ?? null;
    if (found === null) {
      const statement = `CREATE TABLE IF NOT EXISTS ${quoteDatabricksQualified(table)} (sink STRING, epoch BIGINT) USING DELTA`;
      const action = { do: 'create delta table', table, statement } as const;
      return { kind: 'create', what, detail: 'epochs of the sinks', sql: [statement], action };
    }
    const columns = found.columns.map(({ name, type }) => `${name} ${type}`.toLowerCase()).join(', ');
    if (found.format === 'delta' && columns === 'sink string, epoch bigint')
      return { kind: 'ok', what, detail: 'epochs of the sinks' };
    return {
      kind: 'mismatch',
      what,
      detail: `is a ${found.format} table (${columns}), a Delta table (sink STRING, epoch BIGINT) wanted: drop it or rename it`,
    };
  });
}
