/**
 * An exact value. Integers that a double holds exactly are numbers, larger ones bigints, so that
 * `===` compares them. Per type: boolean → boolean; smallint, integer, bigint → number | bigint;
 * numeric(p,s) → decimal text with exactly s decimals ("-0.50"); real, double → number;
 * date → days since 1970-01-01; timestamp, timestamptz → microseconds since 1970-01-01T00:00:00
 * (number | bigint as above); uuid → lower-case text; bytea → Uint8Array; text, varchar, jsonb, enum → string.
 */
export type Value = string | number | bigint | boolean | Uint8Array | null;

/** Values in the order of the mapping's columns. */
export type Row = readonly Value[];

/** Microseconds since 1970-01-01T00:00:00Z; a bigint only beyond 2^53. */
export type Micros = number | bigint;

export type Op = 'insert' | 'update' | 'delete' | 'snapshot';

/** One insert, update or delete of one row, or one row of a load's snapshot. */
export interface Change {
  readonly op: Op;
  /** Canonical key text (src/change/key.ts); the record's key. */
  readonly key: string;
  readonly before: Row | null;
  readonly after: Row | null;
  /** Configured id of the system where the change was made. */
  readonly origin: string;
  readonly table: string;
  /** Delta commit version or Postgres log change_id. */
  readonly position: number | bigint;
  /** Event time: when the source made the change. */
  readonly ts: Micros;
  /** Postgres transaction id, null from Delta. */
  readonly tx: number | bigint | null;
  /** Id of the bulk load, null for live changes. */
  readonly load: string | null;
}
