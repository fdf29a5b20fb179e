import type { TableMapping } from '../change/table.ts';
import type { CaptureTarget } from '../connections/postgres/capture-sql.ts';
import type { HistoryColumnNames } from '../connections/postgres/history-ddl.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** Where the producers keep their positions: one topic for all tables, read to its end when a producer starts. */
export const POSITIONS_TOPIC = 'deltaferry.positions';
export const DEFAULT_PARTITIONS = 8;
export const DEFAULT_RETENTION_MS = 7 * DAY_MS;
export const DEFAULT_DEAD_LETTER_RETENTION_MS = 30 * DAY_MS;

/** What must exist for one table to be kept in step. */
export interface SetupTable {
  readonly mapping: TableMapping;
  /** The changes topic; the subject is `<topic>-value`, the dead letters are in `<topic>.dead-letters`. */
  readonly topic: string;
  /** Default 8. */
  readonly partitions?: number;
  /** `schema.table` of the SCD Type 2 history in Postgres; absent: the table has none. */
  readonly historyTable?: string;
  /** Default `on_date`, `off_date`, `is_active`. */
  readonly historyColumns?: HistoryColumnNames;
  /** `schema.table` in Databricks (or `catalog.schema.table`); absent: the table has none. */
  readonly deltaTable?: string;
  /** Whether changes are read from the Delta table; default true. */
  readonly deltaIsRead?: boolean;
  /** The table in Postgres whose changes go to Delta; absent: none do. */
  readonly captured?: Omit<CaptureTarget, 'mapping'>;
}

export interface SetupRequest {
  readonly tables: readonly SetupTable[];
  /** How long changes stay on their topic, milliseconds; default 7 days. */
  readonly retentionMs?: number;
  /** The same for dead letters; default 30 days. */
  readonly deadLetterRetentionMs?: number;
  /** Default `deltaferry.positions`. */
  readonly positionsTopic?: string;
}

export function deadLetterTopic(topic: string): string {
  return `${topic}.dead-letters`;
}

export function subjectOf(topic: string): string {
  return `${topic}-value`;
}
