import { postgresTypeOf } from '../change/types.ts';
import { quoteIdent, quoteQualified } from '../connections/identifiers.ts';
import {
  CAPTURE_EVENTS,
  captureNames,
  createCaptureFunctionSql,
  createLogSql,
  createTriggerSql,
  type CaptureEvent,
} from '../connections/postgres/capture-ddl.ts';
import type { CaptureTarget } from '../connections/postgres/capture-sql.ts';
import type { CapturedRelation, CaptureFacts } from '../connections/postgres/captured-table.ts';
import { createHistoryTable, DEFAULT_HISTORY_COLUMNS } from '../connections/postgres/history-ddl.ts';
import { UsageError } from '../errors.ts';
import { checkCaptured } from './capture-columns.ts';
import type { Finding } from './plan-history.ts';
import type { Step } from './plan.ts';
import type { SetupTable } from './request.ts';

export function captureTargetOf({ captured, mapping }: SetupTable): CaptureTarget | null {
  return captured === undefined ? null : { ...captured, mapping };
}

/** Why nothing can be named after the table; null: it can. */
export function nameProblem(name: string): string | null {
  try {
    captureNames(name);
    return null;
  } catch (error) {
    if (error instanceof UsageError) return `${error.message} ${error.remedy ?? ''}`.trim();
    throw error;
  }
}

/** Log, function and triggers of a captured table; whatever keeps it from being captured otherwise. */
export function planCapture(table: SetupTable, existing: CaptureFacts | undefined): readonly Step[] {
  const target = captureTargetOf(table);
  if (target === null || existing === undefined) return [];
  const what = `capture of ${target.table}`;
  const findings = findingsOf(table, target, existing);
  if (findings.length > 0)
    return findings.map(({ kind, detail, sql }): Step => {
      return { kind, what, detail, ...(sql === undefined ? {} : { sql: [sql] }) };
    });
  const { log, capture, parts } = missingStatements(target, existing);
  if (parts.length === 0) return [{ kind: 'ok', what, detail: 'log, function and triggers are in place' }];
  const action = { do: 'install capture', target, statements: { log, capture } } as const;
  return [{ kind: 'create', what, detail: parts.join(', '), sql: [...log, ...capture], action }];
}

function findingsOf(table: SetupTable, target: CaptureTarget, existing: CaptureFacts): readonly Finding[] {
  if (existing.table.exists)
    return [
      // What the history must be is said there once.
      ...checkCaptured(target, existing.table, { columnsChecked: table.historyTable === target.table }),
      ...checkFamily(target, existing),
      ...existing.relations.flatMap((relation) => checkRelation(relation, existing.role)),
      ...checkOwn(target, existing),
    ];
  // It is created before it is captured.
  if (table.historyTable === target.table) return checkOwn(target, existing);
  return [{ kind: 'mismatch', detail: 'there is no such table', sql: createSource(target).join(';\n') }];
}

function checkFamily({ table }: CaptureTarget, { inherits, partitionOf }: CaptureFacts): readonly Finding[] {
  if (partitionOf !== null)
    return [
      {
        kind: 'mismatch',
        detail: `is a partition: what is written by way of ${partitionOf} fires no trigger of it. Capture ${partitionOf}`,
      },
    ];
  if (!inherits) return [];
  return [
    {
      kind: 'mismatch',
      detail: `${table} has children or a parent by INHERITS: no key holds for all of them. Partition it instead`,
    },
  ];
}

function checkRelation(relation: CapturedRelation, role: string): readonly Finding[] {
  const { name, kind, mayTrigger, maySelect, rowsHidden } = relation;
  if (kind === 'foreign table')
    return [
      { kind: 'mismatch', detail: `its partition ${name} is a foreign table, which cannot be captured` },
    ];
  const to = quoteIdent(role);
  const findings: Finding[] = [];
  if (!mayTrigger)
    findings.push({
      kind: 'mismatch',
      detail: `role ${role} lacks the TRIGGER privilege on ${name}`,
      sql: `GRANT TRIGGER ON ${name} TO ${to}`,
    });
  if (!maySelect)
    findings.push({
      kind: 'mismatch',
      detail: `role ${role} lacks the SELECT privilege on ${name}: TRUNCATE logs every row`,
      sql: `GRANT SELECT ON ${name} TO ${to}`,
    });
  if (rowsHidden)
    findings.push({
      kind: 'mismatch',
      detail: `row level security hides rows of ${name} from role ${role}: TRUNCATE could not log them all`,
      sql: `ALTER ROLE ${to} BYPASSRLS`,
    });
  return findings;
}

/** What is ours, but not as this version would have it, and not to be mended without a loss. */
function checkOwn(
  { mapping }: CaptureTarget,
  { log, foreignOwner, strays, role }: CaptureFacts,
): readonly Finding[] {
  const names = captureNames(mapping.name);
  const findings: Finding[] = [];
  if (foreignOwner !== null)
    findings.push({
      kind: 'mismatch',
      detail: `its log or function belongs to role ${foreignOwner}, of which ${role} is no member: run setup as ${foreignOwner}`,
    });
  if (log === 'differs')
    findings.push({
      kind: 'mismatch',
      detail: `deltaferry.${names.log} is not the log that this version writes to: setup --uninstall removes it`,
    });
  for (const stray of strays)
    findings.push({
      kind: 'mismatch',
      detail: `${stray} is not part of it (any more), and its triggers still write to the log`,
      sql: CAPTURE_EVENTS.map(
        (event) => `DROP TRIGGER IF EXISTS ${quoteIdent(names.triggers[event])} ON ${stray}`,
      ).join(';\n'),
    });
  return findings;
}

function missingStatements(target: CaptureTarget, existing: CaptureFacts) {
  const { name } = target.mapping;
  const relations =
    existing.relations.length > 0
      ? existing.relations
      : [{ name: quoteQualified(target.table), triggers: NO_TRIGGERS }];
  const triggers = relations.flatMap((relation) =>
    CAPTURE_EVENTS.filter((event) => relation.triggers[event] !== 'same').map((event) => ({
      event,
      relation: relation.name,
    })),
  );
  const log = existing.log === 'missing' ? createLogSql(name) : [];
  const routine = existing.function === 'same' ? [] : createCaptureFunctionSql(target);
  const parts = [
    ...(log.length > 0 ? ['log'] : []),
    ...(routine.length > 0 ? [existing.function === 'differs' ? 'function anew' : 'function'] : []),
    ...triggerText(triggers),
  ];
  const capture = [
    ...routine,
    ...triggers.map(({ event, relation }) => createTriggerSql(name, event, relation)),
  ];
  return { log, capture, parts };
}

const NO_TRIGGERS = { insert: 'missing', update: 'missing', delete: 'missing', truncate: 'missing' } as const;

function triggerText(
  triggers: readonly { readonly event: CaptureEvent; readonly relation: string }[],
): readonly string[] {
  if (triggers.length === 0) return [];
  const events = CAPTURE_EVENTS.filter((event) => triggers.some((trigger) => trigger.event === event));
  const tables = new Set(triggers.map(({ relation }) => relation)).size;
  const where = tables === 1 ? '' : ` on ${tables} tables`;
  return [`triggers for ${events.map((event) => event.toUpperCase()).join(', ')}${where}`];
}

/** For a person: a table that could be captured. */
function createSource(target: CaptureTarget): readonly string[] {
  const { table, mapping, history } = target;
  if (history !== null)
    return createHistoryTable({ table, mapping, names: { ...DEFAULT_HISTORY_COLUMNS, ...history } });
  const columns = mapping.columns.map(
    ({ name, type }) => `${quoteIdent(name)} ${postgresTypeOf(type, quoteQualified)}`,
  );
  const key = `PRIMARY KEY (${mapping.key.map((name) => quoteIdent(name)).join(', ')})`;
  return [`CREATE TABLE ${quoteQualified(table)} (${[...columns, key].join(', ')})`];
}
