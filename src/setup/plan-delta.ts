import type { TableMapping } from '../change/table.ts';
import { deltaTypeOf } from '../change/types.ts';
import type { DeltaTableFacts } from '../connections/databricks/delta-table.ts';
import { quoteDatabricksIdent, quoteDatabricksQualified } from '../connections/identifiers.ts';
import { fitsDelta } from './column-fit.ts';
import type { Step } from './plan.ts';

/** What the table is used for. */
export interface DeltaUse {
  /** Its changes are read. */
  readonly read: boolean;
  /** Changes from Postgres are merged into it. */
  readonly merged: boolean;
}

/** The Delta table is the user's: it is checked, never changed, and created only to be merged into. */
export function planDeltaTable(
  table: string,
  mapping: TableMapping,
  existing: DeltaTableFacts | null,
  use: DeltaUse = { read: true, merged: false },
): readonly Step[] {
  const what = `Delta table ${table}`;
  if (existing === null) {
    const columns = columnTexts(mapping);
    if (!use.merged)
      return [
        { kind: 'mismatch', what, detail: 'does not exist', sql: [createDeltaTable('', table, columns)] },
      ];
    const statement = createDeltaTable('IF NOT EXISTS ', table, columns);
    const action = { do: 'create delta table', table, statement } as const;
    return [{ kind: 'create', what, detail: 'change data feed on', sql: [statement], action }];
  }
  if (existing.format !== 'delta')
    return [
      {
        kind: 'mismatch',
        what,
        detail: `is a ${existing.format}: only Delta tables have a change data feed`,
      },
    ];

  const steps: Step[] = [...checkColumns(what, table, mapping, existing, use)];
  if (use.read && !isOn(existing, 'delta.enableChangeDataFeed'))
    steps.push({
      kind: 'mismatch',
      what,
      detail: 'its change data feed is off; changes are recorded from when it is switched on',
      sql: [setProperty(table, 'delta.enableChangeDataFeed')],
    });
  if (steps.length > 0) return steps;

  const fits = 'columns and types fit';
  steps.push({ kind: 'ok', what, detail: use.read ? `change data feed on, ${fits}` : fits });
  if (use.read && !isOn(existing, 'delta.enableInCommitTimestamps'))
    steps.push({
      kind: 'warning',
      what,
      detail:
        'has no in-commit timestamps: event times then come from file times, which change when the table is copied or restored',
      sql: [setProperty(table, 'delta.enableInCommitTimestamps')],
    });
  return steps;
}

function checkColumns(
  what: string,
  table: string,
  mapping: TableMapping,
  existing: DeltaTableFacts,
  use: DeltaUse,
): readonly Step[] {
  return mapping.columns.flatMap(({ name, type }): readonly Step[] => {
    const wanted = deltaTypeOf(type);
    const found = existing.columns.find((column) => column.name.toLowerCase() === name.toLowerCase());
    if (found === undefined) {
      const sql = [
        `ALTER TABLE ${quoteDatabricksQualified(table)} ADD COLUMNS (${quoteDatabricksIdent(name)} ${wanted})`,
      ];
      return [{ kind: 'mismatch', what, detail: `column ${name} (${wanted}) is missing`, sql }];
    }
    const reads = !use.read || fitsDelta(wanted, found.type);
    const holds = !use.merged || fitsDelta(found.type, wanted);
    if (reads && holds) return [];
    const detail =
      `column ${name} is ${found.type.toUpperCase()}, ${wanted} wanted: ` +
      'change its type in the mapping, or write the table anew with this type';
    return [{ kind: 'mismatch', what, detail }];
  });
}

function isOn(table: DeltaTableFacts, property: string): boolean {
  return table.properties[property]?.toLowerCase() === 'true';
}

function setProperty(table: string, property: string): string {
  return `ALTER TABLE ${quoteDatabricksQualified(table)} SET TBLPROPERTIES ('${property}' = 'true')`;
}

function columnTexts(mapping: TableMapping): readonly string[] {
  return mapping.columns.map(({ name, type }) => `${quoteDatabricksIdent(name)} ${deltaTypeOf(type)}`);
}

function createDeltaTable(guard: string, table: string, columns: readonly string[]): string {
  return (
    `CREATE TABLE ${guard}${quoteDatabricksQualified(table)} (${columns.join(', ')}) USING DELTA ` +
    "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true', 'delta.enableInCommitTimestamps' = 'true')"
  );
}
