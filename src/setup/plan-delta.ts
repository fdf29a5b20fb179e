import type { TableMapping } from '../change/table.ts';
import { deltaTypeOf } from '../change/types.ts';
import type { DeltaTableFacts } from '../connections/databricks/delta-table.ts';
import { quoteDatabricksIdent, quoteDatabricksQualified } from '../connections/identifiers.ts';
import { fitsDelta } from './column-fit.ts';
import type { Step } from './plan.ts';

/** The Delta table is the user's: it is checked, never created or changed. */
export function planDeltaTable(
  table: string,
  mapping: TableMapping,
  existing: DeltaTableFacts | null,
): readonly Step[] {
  const what = `Delta table ${table}`;
  if (existing === null)
    return [{ kind: 'mismatch', what, detail: 'does not exist', sql: [createDeltaTable(table, mapping)] }];
  if (existing.format !== 'delta')
    return [
      {
        kind: 'mismatch',
        what,
        detail: `is a ${existing.format}: only Delta tables have a change data feed`,
      },
    ];

  const steps: Step[] = [...checkColumns(what, table, mapping, existing)];
  if (!isOn(existing, 'delta.enableChangeDataFeed'))
    steps.push({
      kind: 'mismatch',
      what,
      detail: 'its change data feed is off; changes are recorded from when it is switched on',
      sql: [setProperty(table, 'delta.enableChangeDataFeed')],
    });
  if (steps.length > 0) return steps;

  steps.push({ kind: 'ok', what, detail: 'change data feed on, columns and types fit' });
  if (!isOn(existing, 'delta.enableInCommitTimestamps'))
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
    if (fitsDelta(wanted, found.type)) return [];
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

function createDeltaTable(table: string, mapping: TableMapping): string {
  const columns = mapping.columns.map(
    ({ name, type }) => `${quoteDatabricksIdent(name)} ${deltaTypeOf(type)}`,
  );
  return (
    `CREATE TABLE ${quoteDatabricksQualified(table)} (${columns.join(', ')}) USING DELTA ` +
    "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true', 'delta.enableInCommitTimestamps' = 'true')"
  );
}
