import type { TableMapping } from '../change/table.ts';
import type { CaptureTarget } from '../connections/postgres/capture-sql.ts';
import type { HistoryColumnNames } from '../connections/postgres/history-ddl.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** Where the producers keep their positions: one topic for all tables, read to its end when a producer starts. */
export const POSITIONS_TOPIC = 'deltaferry.positions';
export const DEFAULT_PARTITIONS = 8;
export const DEFAULT_RETENTION_MS = 7 * DAY_MS;
export const DEFAULT_DEAD_LETTER_RETENTION_MS = 30 * DAY_MS;
/** With what a dead letter adds still below 8 MiB, the most that hosted clusters let a topic have. */
export const DEFAULT_MAX_MESSAGE_BYTES = 8_000_000;
/** A dead letter is the record and, in headers, what became of it. */
const DEAD_LETTER_HEADERS = 256 * 1024;

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
  /** The topic of the table's loads, compacted; absent: there are none. */
  readonly loadTopic?: string;
}

export interface SetupRequest {
  readonly tables: readonly SetupTable[];
  /** How long changes stay on their topic, milliseconds; default 7 days. */
  readonly retentionMs?: number;
  /** The same for dead letters; default 30 days. */
  readonly deadLetterRetentionMs?: number;
  /** Default `deltaferry.positions`. */
  readonly positionsTopic?: string;
  /** Largest record of changes and of loads, as it lies on the topic; default 8,000,000. */
  readonly maxMessageBytes?: number;
}

/** `max.message.bytes` of a topic whose records become dead letters of this size. */
export function deadLetterBytes(maxMessageBytes: number): number {
  return maxMessageBytes + DEAD_LETTER_HEADERS;
}

export function deadLetterTopic(topic: string): string {
  return `${topic}.dead-letters`;
}

export function subjectOf(topic: string): string {
  return `${topic}-value`;
}
