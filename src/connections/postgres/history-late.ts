import type { PoolClient } from 'pg';
import type { Micros, Row, Value } from '../../change/change.ts';
import { formatterFor } from '../../change/types.ts';
import type { TableMapping } from '../../change/table.ts';
import { editsFor } from '../../scd/edits.ts';
import type { Version } from '../../scd/history.ts';
import { arrayText } from './array-text.ts';
import { instantTexts, keyArrays, type KeyChanges } from './history-batch.ts';
import type { HistorySql } from './history-sql.ts';
import { instantOf, instantText } from './instants.ts';

export interface HistoryWriter {
  readonly client: PoolClient;
  readonly sql: HistorySql;
  readonly mapping: TableMapping;
  /** The history table as orphan_deletes names it. */
  readonly target: string;
}

/** A stored row's image: not read, only told apart from what arrives. */
const STORED: Row = [];

interface KeyEdit<T> {
  readonly change: KeyChanges;
  readonly edit: T;
}

/**
 * The exact path: reads what the history knows around these keys' changes, edits it, and returns the
 * versions still to be inserted. The order of the statements keeps the indexes content at every step.
 */
export async function writeLate(
  writer: HistoryWriter,
  late: readonly KeyChanges[],
): Promise<{ readonly inserts: readonly Version<Row>[]; readonly ended: number }> {
  if (late.length === 0) return { inserts: [], ended: 0 };
  const { client, sql, target } = writer;
  const stored = await readStored(writer, late);
  const same = await readAlreadySo(writer, late);
  const sameImage = (one: Row, other: Row): boolean =>
    one === STORED ? same.has(other) : equalRows(one, other);

  const edits = late.map((change, index) => ({
    change,
    edit: editsFor(stored[index] ?? { versions: [], orphanDeletes: [] }, change.arrivals, sameImage),
  }));
  const spread = <T>(pick: (edit: (typeof edits)[number]['edit']) => readonly T[]): KeyEdit<T>[] =>
    edits.flatMap(({ change, edit }) => pick(edit).map((one) => ({ change, edit: one })));

  const ends = spread((edit) => edit.end);
  const images = spread((edit) => edit.replace);
  await writeRows(
    writer,
    sql.remove,
    spread((edit) => edit.remove),
    (from) => from,
  );
  await writeEnds(
    writer,
    ends.filter(({ edit }) => edit.to !== null),
  );
  await writeEnds(
    writer,
    ends.filter(({ edit }) => edit.to === null),
  );
  if (sql.replace !== null && images.length > 0)
    await client.query(
      sql.replace,
      imageParameters(
        writer,
        images.map(({ change, edit }) => ({ ...change, ts: edit.from, row: edit.image })),
      ),
    );
  await writeOrphans(
    client,
    sql.addOrphans,
    target,
    spread((edit) => edit.addOrphans),
  );
  await writeOrphans(
    client,
    sql.removeOrphans,
    target,
    spread((edit) => edit.removeOrphans),
  );
  return {
    inserts: edits.flatMap(({ edit }) => edit.insert),
    ended: ends.length,
  };
}

/** Params of `orphans`, `addOrphans` and `removeOrphans`. */
export async function writeOrphans(
  client: PoolClient,
  statement: string,
  target: string,
  orphans: readonly KeyEdit<Micros>[],
): Promise<void> {
  if (orphans.length === 0) return;
  const keys = arrayText(orphans.map(({ change }) => change.key));
  await client.query(statement, [target, keys, instantTexts(orphans.map(({ edit }) => edit))]);
}

interface StoredHistory {
  readonly versions: Version<Row>[];
  readonly orphanDeletes: Micros[];
}

async function readStored(
  { client, sql, mapping, target }: HistoryWriter,
  late: readonly KeyChanges[],
): Promise<StoredHistory[]> {
  const firsts = instantTexts(late.map((change) => change.first));
  const lasts = instantTexts(late.map((change) => change.last));
  const versions = await client.query<{ n: number; from: string; to: string | null }>(sql.versions, [
    ...keyArrays(late, mapping.key.length),
    firsts,
    lasts,
  ]);
  const orphans = await client.query<{ n: number; ts: string }>(sql.orphans, [
    target,
    arrayText(late.map((change) => change.key)),
    firsts,
  ]);
  const stored: StoredHistory[] = late.map(() => ({ versions: [], orphanDeletes: [] }));
  for (const { n, from, to } of versions.rows)
    stored[n - 1]?.versions.push({
      from: instantOf(from),
      // People write infinity where they mean "still current".
      to: to === null || to === 'infinity' ? null : instantOf(to),
      image: STORED,
    });
  for (const { n, ts } of orphans.rows) stored[n - 1]?.orphanDeletes.push(instantOf(ts));
  return stored;
}

/** The snapshot rows that the stored history already shows at their time. */
async function readAlreadySo(writer: HistoryWriter, late: readonly KeyChanges[]): Promise<ReadonlySet<Row>> {
  const asserted = late.flatMap((change) =>
    change.arrivals.flatMap((arrival) =>
      arrival.kind === 'snapshot' ? [{ keyTexts: change.keyTexts, ts: arrival.ts, row: arrival.image }] : [],
    ),
  );
  if (asserted.length === 0) return new Set();
  const answer = await writer.client.query<{ n: number }>(
    writer.sql.alreadySo,
    imageParameters(writer, asserted),
  );
  const so = new Set(answer.rows.map(({ n }) => n));
  return new Set(asserted.flatMap(({ row }, index) => (so.has(index + 1) ? [row] : [])));
}

async function writeEnds(
  writer: HistoryWriter,
  ends: readonly KeyEdit<{ readonly from: Micros; readonly to: Micros | null }>[],
): Promise<void> {
  const until = ends.map(({ edit }) => edit.to);
  const texts = until.map((to) => (to === null ? null : instantText(to)));
  await writeRows(writer, writer.sql.end, ends, (edit) => edit.from, texts);
}

async function writeRows<T>(
  { client, mapping }: HistoryWriter,
  statement: string,
  rows: readonly KeyEdit<T>[],
  start: (edit: T) => Micros,
  ...more: readonly (readonly (string | null)[])[]
): Promise<void> {
  if (rows.length === 0) return;
  const keys = keyArrays(
    rows.map(({ change }) => change),
    mapping.key.length,
  );
  await client.query(statement, [...keys, instantTexts(rows.map(({ edit }) => start(edit))), ...more]);
}

/** Params of `replace` and `alreadySo`. */
function imageParameters(
  { mapping }: HistoryWriter,
  rows: readonly { readonly keyTexts: readonly string[]; readonly ts: Micros; readonly row: Row }[],
): unknown[] {
  const others = mapping.columns.flatMap((column, index) =>
    mapping.key.includes(column.name) ? [] : [{ index, format: formatterFor(column.type, column.name) }],
  );
  return [
    ...keyArrays(rows, mapping.key.length),
    instantTexts(rows.map(({ ts }) => ts)),
    ...others.map(({ index, format }) =>
      rows.map(({ row }) => {
        const value = row[index] ?? null;
        return value === null ? null : format(value);
      }),
    ),
  ];
}

function equalRows(one: Row, other: Row): boolean {
  return one.every((value, index) => equalValues(value, other[index] ?? null));
}

function equalValues(one: Value, other: Value): boolean {
  if (one instanceof Uint8Array && other instanceof Uint8Array) return Buffer.compare(one, other) === 0;
  return Object.is(one, other);
}
