import type { Change, Micros, Op, Row, Value } from '../change/change.ts';
import { keyOf } from '../change/key.ts';
import type { TableMapping } from '../change/table.ts';
import { PoisonError } from '../errors.ts';

/** One row image of a commit, as a change data feed gives it. */
export interface RowImage {
  readonly version: number;
  readonly type: 'insert' | 'update_preimage' | 'update_postimage' | 'delete';
  /** Time of the commit, microseconds. */
  readonly ts: Micros;
  readonly row: Row;
  /** Set where a value does not fit its column; that value is null in `row`. */
  readonly invalid: { readonly error: PoisonError; readonly values: readonly (string | null)[] } | null;
}

/** Rows that can never become a change. */
export interface Rejection {
  readonly key: string;
  readonly table: string;
  readonly code: string;
  readonly message: string;
  readonly position: number;
  readonly ts: Micros;
  readonly payload: string;
}

/** What the rows of one key in one version come to. */
export type PairingOutcome = { readonly version: number } & (
  | { readonly kind: 'change'; readonly change: Change }
  /** Rewritten without a difference in the mapped columns. */
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'rejected'; readonly rejection: Rejection }
);

export interface Pairing {
  /** Takes the next row; the outcome of the key before it once that is complete, else null. */
  add(image: RowImage): PairingOutcome | null;
  /** The outcome of the last key: no more rows follow. */
  end(): PairingOutcome | null;
}

export interface PairingOptions {
  readonly mapping: TableMapping;
  /** Origin id of the changes. */
  readonly origin: string;
}

/** A rejection shows this many rows: a key can have any number, memory has not. */
const ROWS_SHOWN = 20;

/**
 * Turns the rows of commits into changes, one key of one version at a time: the rows of a key must
 * stand together. Preimage and postimage are an update, and so are a delete and an insert; what differs
 * in no mapped column is dropped; a key with more than one new image is rejected with its rows.
 */
export function createPairing({ mapping, origin }: PairingOptions): Pairing {
  const keyFor = keyOf(mapping);
  let group: Group | null = null;

  function close(): PairingOutcome | null {
    return group === null ? null : outcomeOf(group, mapping, origin);
  }

  return {
    add(image) {
      const key = keyText(image, keyFor);
      if (group !== null && group.version === image.version && group.id === key.id) {
        addTo(group, image);
        return null;
      }
      const finished = close();
      group = { version: image.version, ts: image.ts, ...key, before: null, after: null, count: 0, images: [] };
      addTo(group, image);
      return finished;
    },
    end() {
      const finished = close();
      group = null;
      return finished;
    },
  };
}

interface Key {
  /** Equal for the rows of one key only, also where the key is unfit. */
  readonly id: string;
  readonly key: string;
  readonly keyError: PoisonError | null;
}

interface Group extends Key {
  readonly version: number;
  readonly ts: Micros;
  before: RowImage | null;
  after: RowImage | null;
  count: number;
  /** The first rows, to be shown. */
  readonly images: RowImage[];
}

function addTo(group: Group, image: RowImage): void {
  group.count++;
  if (group.images.length < ROWS_SHOWN) group.images.push(image);
  if (isNew(image)) group.after ??= image;
  else group.before ??= image;
}

function keyText(image: RowImage, keyFor: (row: Row) => string): Key {
  try {
    const key = keyFor(image.row);
    return { id: key, key, keyError: null };
  } catch (error) {
    if (!(error instanceof PoisonError)) throw error;
    // No key text begins with NUL: Postgres could not hold it.
    const shown = image.invalid === null ? '' : JSON.stringify(image.invalid.values);
    return { id: `\0${shown}`, key: '', keyError: image.invalid?.error ?? error };
  }
}

function outcomeOf(group: Group, mapping: TableMapping, origin: string): PairingOutcome {
  const { version, before, after } = group;
  const fault = faultOf(group);
  if (fault !== null) return { version, kind: 'rejected', rejection: rejectionOf(group, fault, mapping) };
  // An old image that does not fit was rejected when it was new: what ends it is published all the same.
  const old = before === null || before.invalid !== null ? null : before.row;
  const row = after === null ? null : after.row;
  if (old !== null && row !== null && sameRow(old, row)) return { version, kind: 'unchanged' };
  const change: Change = {
    op: opOf(before, after),
    key: group.key,
    before: old,
    after: row,
    origin,
    table: mapping.name,
    position: version,
    ts: group.ts,
    tx: null,
    load: null,
  };
  return { version, kind: 'change', change };
}

function opOf(before: RowImage | null, after: RowImage | null): Op {
  if (after === null) return 'delete';
  return before === null && after.type === 'insert' ? 'insert' : 'update';
}

interface Fault {
  readonly code: string;
  readonly message: string;
}

function faultOf(group: Group): Fault | null {
  if (group.keyError !== null) return group.keyError;
  const duplicate = duplicateOf(group);
  if (duplicate !== null) return duplicate;
  return group.after?.invalid?.error ?? null;
}

/**
 * One row per key and version can be old, and one new. Anything else means that the table held the
 * key twice, and nobody can say which row counts.
 */
function duplicateOf(group: Group): Fault | null {
  const kinds = group.images.map((image) => image.type).sort();
  if (group.count === 1 && kinds[0] !== 'update_preimage') return null;
  const pair = kinds.join('+');
  if (group.count === 2 && (pair === 'update_postimage+update_preimage' || pair === 'delete+insert')) return null;
  return {
    code: 'DUPLICATE_KEY',
    message: `version ${group.version} has ${group.count} rows of the key ${group.key} (${pair}): the key is not unique in the table`,
  };
}

function rejectionOf(group: Group, { code, message }: Fault, mapping: TableMapping): Rejection {
  return {
    key: group.key,
    table: mapping.name,
    code,
    message: `Delta ${mapping.name}: ${message}`,
    position: group.version,
    ts: group.ts,
    payload: JSON.stringify({
      version: group.version,
      count: group.count,
      rows: group.images.map((image) => ({ type: image.type, ...shown(image, mapping) })),
    }),
  };
}

function shown(image: RowImage, mapping: TableMapping): Record<string, unknown> {
  const values = image.invalid?.values ?? image.row.map(readable);
  return Object.fromEntries(mapping.columns.map(({ name }, index) => [name, values[index] ?? null]));
}

/** Exact for a person: a bigint and bytes have no form in JSON, -0 and NaN lose theirs. */
function readable(value: Value): string | boolean | null {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return Object.is(value, -0) ? '-0' : String(value);
}

function isNew({ type }: RowImage): boolean {
  return type === 'insert' || type === 'update_postimage';
}

function sameRow(a: Row, b: Row): boolean {
  for (let index = 0; index < a.length; index++) if (!sameValue(a[index], b[index])) return false;
  return a.length === b.length;
}

function sameValue(a: Value | undefined, b: Value | undefined): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
}
