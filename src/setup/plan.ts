import type { DeltaTableFacts } from '../connections/databricks/delta-table.ts';
import type { CaptureTarget } from '../connections/postgres/capture-sql.ts';
import type { CaptureFacts, CaptureStatements } from '../connections/postgres/captured-table.ts';
import { DEFAULT_HISTORY_COLUMNS } from '../connections/postgres/history-ddl.ts';
import type { HistoryTableFacts } from '../connections/postgres/history-table.ts';
import { planCapture } from './plan-capture.ts';
import { planDeltaTable } from './plan-delta.ts';
import { planEpochs } from './plan-epochs.ts';
import { planHistoryTable } from './plan-history.ts';
import { planMapping } from './plan-mapping.ts';
import { planSubject, type SubjectFacts } from './plan-subject.ts';
import { planTopics } from './plan-topics.ts';
import type { NewTopic, TopicFacts } from './ports.ts';
import { subjectOf, type SetupRequest } from './request.ts';

/** One thing that a step changes when the plan is applied. */
export type Action =
  | { readonly do: 'migrate' }
  | { readonly do: 'create topic'; readonly topic: NewTopic }
  | { readonly do: 'set compatibility'; readonly subject: string; readonly level: string }
  | { readonly do: 'register schema'; readonly subject: string; readonly schema: object }
  | { readonly do: 'create history'; readonly table: string; readonly statements: readonly string[] }
  | { readonly do: 'create delta table'; readonly table: string; readonly statement: string }
  | {
      readonly do: 'install capture';
      readonly target: CaptureTarget;
      readonly statements: CaptureStatements;
    };

interface StepText {
  /** The thing, with its kind: `topic employees_changes`. */
  readonly what: string;
  /** Its state, or what is wrong with it and what was expected. */
  readonly detail: string;
  /** `create`: the statements that will run. Otherwise: what a person can run to mend it. */
  readonly sql?: readonly string[];
}

export type Step =
  | (StepText & { readonly kind: 'create'; readonly action: Action })
  /** `warning`: works, but not as well as it could. `mismatch`: nothing is applied while there is one. */
  | (StepText & { readonly kind: 'ok' | 'warning' | 'mismatch' });

/** Steps in the order in which they are applied. */
export type Plan = readonly Step[];

/** Everything that was found, by name. */
export interface Existing {
  readonly pendingMigrations: readonly string[];
  readonly topics: ReadonlyMap<string, TopicFacts>;
  readonly subjects: ReadonlyMap<string, SubjectFacts>;
  readonly histories: ReadonlyMap<string, HistoryTableFacts>;
  readonly deltas: ReadonlyMap<string, DeltaTableFacts | null>;
  /** By the mapping's name. */
  readonly captures: ReadonlyMap<string, CaptureFacts>;
}

/** What has to be done so that everything wanted exists. Pure; changes nothing that is not ours. */
export function planSetup(wanted: SetupRequest, existing: Existing): Plan {
  return [
    planControlSchema(existing.pendingMigrations),
    ...wanted.tables.flatMap(planMapping),
    ...planTopics(wanted, existing.topics),
    ...wanted.tables.flatMap((table) => planSubject(table, existing.subjects.get(subjectOf(table.topic)))),
    ...wanted.tables.flatMap((table) =>
      table.historyTable === undefined
        ? []
        : planHistoryTable(
            {
              table: table.historyTable,
              mapping: table.mapping,
              names: table.historyColumns ?? DEFAULT_HISTORY_COLUMNS,
            },
            existing.histories.get(table.historyTable),
          ),
    ),
    ...wanted.tables.flatMap((table) =>
      table.deltaTable === undefined
        ? []
        : planDeltaTable(table.deltaTable, table.mapping, existing.deltas.get(table.deltaTable) ?? null, {
            read: table.deltaIsRead !== false,
            merged: table.captured !== undefined,
          }),
    ),
    ...planEpochs(wanted, existing.deltas),
    // Last: from here on changes are logged, and whoever reads them finds everything else in place.
    ...wanted.tables.flatMap((table) => planCapture(table, existing.captures.get(table.mapping.name))),
  ];
}

export function mismatchesOf(plan: Plan): Plan {
  return plan.filter((step) => step.kind === 'mismatch');
}

function planControlSchema(pending: readonly string[]): Step {
  const what = 'control schema deltaferry';
  return pending.length === 0
    ? { kind: 'ok', what, detail: 'all migrations applied' }
    : { kind: 'create', what, detail: `apply ${pending.join(', ')}`, action: { do: 'migrate' } };
}
