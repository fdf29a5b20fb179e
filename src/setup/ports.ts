import type { TableMapping } from '../change/table.ts';
import type { DeltaTableFacts } from '../connections/databricks/delta-table.ts';
import type { CaptureTarget } from '../connections/postgres/capture-sql.ts';
import type { CaptureFacts, CaptureStatements, LoggedRows } from '../connections/postgres/captured-table.ts';
import type { HistoryTableFacts } from '../connections/postgres/history-table.ts';

/** A topic as the broker has it. */
export interface TopicFacts {
  readonly partitions: number;
  /** Effective settings, defaults included, by Kafka's names (`cleanup.policy`, `retention.ms`, …). */
  readonly config: Readonly<Record<string, string>>;
}

export interface NewTopic {
  readonly topic: string;
  readonly partitions: number;
  /** Settings that differ from the broker's defaults. */
  readonly config: Readonly<Record<string, string>>;
}

export interface TopicsAdmin {
  /** Those of the topics that exist; the others are left out. */
  describe(topics: readonly string[]): Promise<ReadonlyMap<string, TopicFacts>>;
  /** Creates them with the broker's default replication; one that exists by now is left as it is. */
  create(topics: readonly NewTopic[]): Promise<void>;
}

export interface RegisteredSchema {
  readonly id: number;
  readonly version: number;
  readonly schema: object;
}

/** Subjects of the schema registry. */
export interface Subjects {
  /** The newest version; null where the subject does not exist. */
  latest(subject: string): Promise<RegisteredSchema | null>;
  /** The subject's own compatibility level; null where it has none and the registry's default holds. */
  compatibility(subject: string): Promise<string | null>;
  setCompatibility(subject: string, level: string): Promise<void>;
  /** Why the registry would refuse this schema as the next version under the subject's level; null: it would not. */
  incompatibility(subject: string, schema: object): Promise<string | null>;
  /** Registers it, or finds it where it is registered already; answers its id. */
  register(subject: string, schema: object): Promise<number>;
}

/** The numbered migrations of the control schema. */
export interface ControlSchema {
  /** Names of those not applied yet. */
  pending(): Promise<readonly string[]>;
  /** Applies them; two at once do not collide. */
  migrate(): Promise<readonly string[]>;
}

export interface HistoryTables {
  /** What the catalog says of the table and of what creating it would need. */
  describe(table: string, mapping: TableMapping): Promise<HistoryTableFacts>;
  /** Runs the statements in one transaction, unless somebody has created the table meanwhile. */
  create(table: string, statements: readonly string[]): Promise<void>;
}

export interface DeltaTables {
  /** Null where the table does not exist. */
  describe(table: string): Promise<DeltaTableFacts | null>;
  /** Runs a statement that does nothing where the table exists by then. */
  create(table: string, statement: string): Promise<void>;
}

export interface CapturedTables {
  describe(target: CaptureTarget): Promise<CaptureFacts>;
  /** All in one transaction; two at once do not collide. */
  install(target: CaptureTarget, statements: CaptureStatements): Promise<void>;
}

/** What `setup --uninstall` reads and writes. */
export interface UninstallPorts {
  /** The snapshot up to which a table's log is published; null: nothing is. */
  published(table: string): Promise<string | null>;
  logged(table: string, published: string | null): Promise<LoggedRows>;
  uninstall(table: string, published: string | null): Promise<LoggedRows>;
}

/** Everything that setup reads and writes. */
export interface SetupPorts {
  readonly control: ControlSchema;
  readonly topics: TopicsAdmin;
  readonly subjects: Subjects;
  readonly histories: HistoryTables;
  readonly deltas: DeltaTables;
  readonly captures: CapturedTables;
}
