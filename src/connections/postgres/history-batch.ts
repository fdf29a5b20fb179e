import type { Change, Micros, Row } from '../../change/change.ts';
import { keyColumnTexts } from '../../change/key.ts';
import type { TableMapping } from '../../change/table.ts';
import { PoisonError } from '../../errors.ts';
import { historyOf, settle, type Arrival, type History } from '../../scd/history.ts';
import { arrayText } from './array-text.ts';
import { instantText } from './instants.ts';

/** What a batch brings for one key. */
export interface KeyChanges {
  readonly key: string;
  /** The key columns' texts, in key order. */
  readonly keyTexts: readonly string[];
  /** In partition order. */
  readonly arrivals: readonly Arrival<Row>[];
  readonly first: Micros;
  readonly last: Micros;
  /** What the changes alone amount to: true of the key where nothing it knows is as late as `first`. */
  readonly alone: History<Row>;
  /** Whether one of them depends on what is stored beyond its time (a load's snapshot row). */
  readonly asserts: boolean;
}

/**
 * Groups changes by key. The keys come in the order of the index: neighbours then share pages (half the
 * cost of a batch of random keys), and transactions that meet lock rows in the same order.
 */
export function groupByKey(changes: readonly Change[], mapping: TableMapping): KeyChanges[] {
  const arrivals = new Map<string, Arrival<Row>[]>();
  for (const change of changes) {
    const arrival = arrivalOf(change);
    const known = arrivals.get(change.key);
    if (known === undefined) arrivals.set(change.key, [arrival]);
    else known.push(arrival);
  }
  return Array.from(arrivals, ([key, list]) => keyChanges(key, keyColumnTexts(key, mapping), list)).sort(
    byKey(mapping),
  );
}

function byKey(mapping: TableMapping): (one: KeyChanges, other: KeyChanges) => number {
  const type = mapping.columns.find((column) => column.name === mapping.key[0])?.type.name;
  const numeric = type === 'bigint' || type === 'integer' || type === 'smallint';
  return (one, other) => {
    const [a = '', b = ''] = [one.keyTexts[0], other.keyTexts[0]];
    // Exact for numbers of one sign, and order is all about speed here.
    if (numeric && a.length !== b.length) return a.length - b.length;
    return a < b ? -1 : a > b ? 1 : 0;
  };
}

function keyChanges(key: string, keyTexts: readonly string[], arrivals: readonly Arrival<Row>[]): KeyChanges {
  const events = settle(arrivals);
  const first = events[0];
  const last = events.at(-1);
  if (first === undefined || last === undefined) throw new RangeError(`no changes for key ${key}`);
  return {
    key,
    keyTexts,
    arrivals,
    first: first.ts,
    last: last.ts,
    alone: historyOf(events),
    asserts: arrivals.some((arrival) => arrival.kind === 'snapshot'),
  };
}

function arrivalOf(change: Change): Arrival<Row> {
  if (change.op === 'delete') return { kind: 'delete', ts: change.ts };
  if (change.after === null)
    throw new PoisonError({
      code: 'ROW_MISSING',
      message: `table ${change.table}: the ${change.op} of key ${change.key} carries no row`,
    });
  return { kind: change.op === 'snapshot' ? 'snapshot' : 'upsert', ts: change.ts, image: change.after };
}

/** The key columns of many keys as one array literal per column, as the statements take them. */
export function keyArrays(
  keys: readonly { readonly keyTexts: readonly string[] }[],
  width: number,
): string[] {
  return Array.from({ length: width }, (_, column) =>
    arrayText(keys.map(({ keyTexts }) => keyTexts[column] ?? '')),
  );
}

export function instantTexts(times: readonly Micros[]): string {
  return arrayText(times.map(instantText));
}
