import type { Change, Micros, Op, Row, Value } from '../change/change.ts';
import { keyOf } from '../change/key.ts';
import { keyIndexes, type TableMapping } from '../change/table.ts';
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
 * stand together. Whatever the commands were, a key's old image (preimage or delete) and its new one
 * (postimage or insert) are an update, the old alone is a delete, the new alone an insert; an update of
 * the key itself thus is a delete and an insert. Images equal in the mapped columns are dropped. A key
 * with several new images is rejected with its rows: nobody can say which counts.
 */
export function createPairing(options: PairingOptions): Pairing {
  const keyText = keyReader(options.mapping);
  let group: Group | null = null;

  function close(): PairingOutcome | null {
    return group === null ? null : outcomeOf(group, options);
  }

  return {
    add(image) {
      const key = keyText(image);
      if (group !== null && group.version === image.version && group.id === key.id) {
        addTo(group, image);
        return null;
      }
      const finished = close();
      group = {
        version: image.version,
        ts: image.ts,
        ...key,
        olds: 0,
        news: 0,
        before: null,
        after: null,
        images: [],
      };
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
  olds: number;
  news: number;
  before: RowImage | null;
  after: RowImage | null;
  /** The first rows, to be shown. */
  readonly images: RowImage[];
}

function addTo(group: Group, image: RowImage): void {
  if (group.images.length < ROWS_SHOWN) group.images.push(image);
  if (image.type === 'insert' || image.type === 'update_postimage') {
    group.news++;
    group.after = image;
  } else {
    group.olds++;
    group.before = image;
  }
}

function keyReader(mapping: TableMapping): (image: RowImage) => Key {
  const keyFor = keyOf(mapping);
  const indexes = keyIndexes(mapping);
  return (image) => {
    try {
      const key = keyFor(image.row);
      return { id: key, key, keyError: null };
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error;
      const values = image.invalid?.values ?? image.row.map(readable);
      // No key text begins with NUL: Postgres could not hold it.
      const id = `\0${JSON.stringify(indexes.map((index) => values[index]))}`;
      return { id, key: '', keyError: image.invalid?.error ?? error };
    }
  };
}

function outcomeOf(group: Group, { mapping, origin }: PairingOptions): PairingOutcome {
  const { version, ts, key, before, after } = group;
  if (isUnchanged(group)) return { version, kind: 'unchanged' };
  const fault = faultOf(group);
  if (fault !== null) return { version, kind: 'rejected', rejection: rejectionOf(group, fault, mapping) };
  const change: Change = {
    op: opOf(group),
    key,
    // An old image that does not fit was rejected when it was new: what ends it is published all the same.
    before: group.olds === 1 && before?.invalid === null ? before.row : null,
    after: after === null ? null : after.row,
    origin,
    table: mapping.name,
    position: version,
    ts,
    tx: null,
    load: null,
  };
  return { version, kind: 'change', change };
}

function isUnchanged({ olds, news, before, after }: Group): boolean {
  if (olds !== 1 || news !== 1 || before === null || after === null) return false;
  if (before.invalid !== null || after.invalid !== null)
    return JSON.stringify(before.invalid?.values) === JSON.stringify(after.invalid?.values);
  return sameRow(before.row, after.row);
}

function opOf({ olds, news }: Group): Op {
  if (news === 0) return 'delete';
  return olds === 0 ? 'insert' : 'update';
}

interface Fault {
  readonly code: string;
  readonly message: string;
}

function faultOf(group: Group): Fault | null {
  if (group.keyError !== null) return group.keyError;
  if (group.news > 1)
    return {
      code: 'DUPLICATE_KEY',
      message: `version ${group.version} writes ${group.news} rows with the key ${group.key}: the key is not unique in the table. Leave one: delete them all and insert it, in one commit (a commit that only deletes a copy counts as a delete of the key)`,
    };
  return group.after?.invalid?.error ?? null;
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
      count: group.olds + group.news,
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

function sameRow(a: Row, b: Row): boolean {
  for (let index = 0; index < a.length; index++) if (!sameValue(a[index], b[index])) return false;
  return a.length === b.length;
}

function sameValue(a: Value | undefined, b: Value | undefined): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
}
