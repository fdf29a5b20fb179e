import { changeSchema } from '../../src/change/avro.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { parseColumnType } from '../../src/change/types.ts';
import type { DeltaTableFacts } from '../../src/connections/databricks/delta-table.ts';
import type {
  CapturedRelation,
  CaptureFacts,
  Installed,
} from '../../src/connections/postgres/captured-table.ts';
import { DEFAULT_HISTORY_COLUMNS } from '../../src/connections/postgres/history-ddl.ts';
import type {
  CatalogColumn,
  CatalogUniqueIndex,
  HistoryTableFacts,
} from '../../src/connections/postgres/history-table.ts';
import type { Existing } from '../../src/setup/plan.ts';
import type { SetupRequest } from '../../src/setup/request.ts';

/** The default table, and everything that fits it: cases say what differs. */
export const employees: TableMapping = mapping({ emp_id: 'bigint', name: 'text', salary: 'numeric(12,2)' });

export function mapping(
  columns: Readonly<Record<string, string>>,
  key: readonly string[] = ['emp_id'],
): TableMapping {
  return {
    name: 'employees',
    key,
    columns: Object.entries(columns).map(([name, type]) => ({ name, type: parseColumnType(type) })),
  };
}

export const request: SetupRequest = {
  tables: [
    {
      mapping: employees,
      topic: 'employees_changes',
      loadTopic: 'employees_backfill',
      historyTable: 'public.employees',
      deltaTable: 'default.employees',
    },
  ],
};

export const nothing: Existing = {
  pendingMigrations: ['0001_control', '0002_capture_and_merge'],
  topics: new Map(),
  subjects: new Map(),
  histories: new Map([['public.employees', { exists: false, schemaExists: true, enums: new Map() }]]),
  deltas: new Map([['default.employees', null]]),
  captures: new Map(),
};

type ExistingHistory = Extract<HistoryTableFacts, { exists: true }>;

export function column(name: string, type: string, more: Partial<CatalogColumn> = {}): CatalogColumn {
  return {
    name,
    type,
    notNull: false,
    hasDefault: false,
    generated: false,
    identity: null,
    looseCollation: null,
    ...more,
  };
}

export const primaryKey: CatalogUniqueIndex = {
  name: 'employees_pkey',
  columns: ['emp_id', 'on_date'],
  primary: true,
  constraint: true,
  predicate: null,
  enforced: true,
};

export const currentIndex: CatalogUniqueIndex = {
  name: 'employees_emp_id_idx',
  columns: ['emp_id'],
  primary: false,
  constraint: false,
  predicate: '(off_date IS NULL)',
  enforced: true,
};

export const goodHistory: ExistingHistory = {
  exists: true,
  kind: 'table',
  logged: true,
  rowSecurity: false,
  columns: [
    column('emp_id', 'bigint', { notNull: true }),
    column('name', 'text'),
    column('salary', 'numeric(12,2)'),
    column('is_active', 'boolean', { notNull: true }),
    column('on_date', 'timestamp with time zone', { notNull: true }),
    column('off_date', 'timestamp with time zone'),
  ],
  uniqueIndexes: [primaryKey, currentIndex],
  enums: new Map(),
};

/** The good history with one column replaced. */
export function historyWith(changed: CatalogColumn): ExistingHistory {
  return {
    ...goodHistory,
    columns: goodHistory.columns.map((old) => (old.name === changed.name ? changed : old)),
  };
}

export const goodDelta: DeltaTableFacts = {
  format: 'delta',
  columns: [
    { name: 'emp_id', type: 'bigint' },
    { name: 'name', type: 'string' },
    { name: 'salary', type: 'decimal(12,2)' },
  ],
  properties: { 'delta.enableChangeDataFeed': 'true', 'delta.enableInCommitTimestamps': 'true' },
};

export const everything: Existing = {
  pendingMigrations: [],
  topics: new Map([
    ['deltaferry.positions', { partitions: 1, config: { 'cleanup.policy': 'compact' } }],
    [
      'employees_changes',
      { partitions: 8, config: { 'cleanup.policy': 'delete', 'retention.ms': '604800000' } },
    ],
    [
      'employees_changes.dead-letters',
      { partitions: 1, config: { 'cleanup.policy': 'delete', 'retention.ms': '2592000000' } },
    ],
    ['employees_backfill', { partitions: 8, config: { 'cleanup.policy': 'compact' } }],
  ]),
  subjects: new Map([
    [
      'employees_changes-value',
      {
        level: 'FULL_TRANSITIVE',
        latest: { id: 7, version: 1, schema: changeSchema(employees) },
        refusal: null,
      },
    ],
  ]),
  histories: new Map([['public.employees', goodHistory]]),
  deltas: new Map([['default.employees', goodDelta]]),
  captures: new Map(),
};

export const capturedRequest: SetupRequest = {
  tables: [
    { ...request.tables[0]!, captured: { table: 'public.employees', history: DEFAULT_HISTORY_COLUMNS } },
  ],
};

/** Nothing captures the good history yet, and nothing keeps it from being captured. */
export const uncaptured: CaptureFacts = {
  table: goodHistory,
  relations: [relation('public.employees', 'missing')],
  inherits: false,
  partitionOf: null,
  log: 'missing',
  function: 'missing',
  foreignOwner: null,
  strays: [],
  role: 'deltaferry',
};

export const goodCapture: CaptureFacts = {
  ...uncaptured,
  relations: [relation('public.employees', 'same')],
  log: 'same',
  function: 'same',
};

export function relation(
  name: string,
  triggers: Installed,
  more: Partial<CapturedRelation> = {},
): CapturedRelation {
  return {
    name,
    kind: 'table',
    triggers: { insert: triggers, update: triggers, delete: triggers, truncate: triggers },
    mayTrigger: true,
    maySelect: true,
    rowsHidden: false,
    ...more,
  };
}

export const goodEpochs: DeltaTableFacts = {
  format: 'delta',
  columns: [
    { name: 'sink', type: 'string' },
    { name: 'epoch', type: 'bigint' },
  ],
  properties: {},
};
