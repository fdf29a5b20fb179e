import type { Change } from '../change/change.ts';
import type { MergeBuffer } from '../flow/merge-buffer.ts';
import type { StreamBatch, StreamRecord } from '../ports/record-stream.ts';
import type { MergeItem } from './merge-hand.ts';
import type { RecordReader } from './record-reader.ts';

/** Smaller ones are bounded by their number. */
const WIDE_BYTES = 16 * 1024;

/** What a fetch holds for the sink, in order. */
export interface ReadBatch {
  readonly items: readonly MergeItem[];
  /** Records that the sink's own system made. */
  readonly own: number;
}

/** Reads a fetch from `position` on. Throws what the registry's state calls for. */
export async function readBatch(
  batch: StreamBatch,
  position: bigint,
  reader: RecordReader,
): Promise<ReadBatch> {
  const items: MergeItem[] = [];
  let own = 0;
  for (const record of batch.records) {
    if (record.offset < position) continue;
    const answer = reader.read(record);
    const reading = answer instanceof Promise ? await answer : answer;
    switch (reading.kind) {
      case 'own':
        own += 1;
        break;
      case 'poison':
        items.push({ kind: 'poison', record: kept(record), error: reading.error });
        break;
      case 'change':
        items.push({ kind: 'change', record: kept(record), change: merged(reading.change) });
        break;
      default:
        reading satisfies never;
    }
  }
  return { items, own };
}

/**
 * Puts what was read into the buffer, waiting wherever it is full until there may be room;
 * false where `untilRoom` gave up.
 */
export async function fill(
  buffer: MergeBuffer<MergeItem>,
  { partition, next, end }: StreamBatch,
  { items, own }: ReadBatch,
  { untilRoom, clock }: { readonly untilRoom: () => Promise<boolean>; readonly clock: () => number },
): Promise<boolean> {
  for (const item of items) {
    const { offset } = item.record;
    while (!buffer.add(partition, item, sizeOf(item), offset + 1n, clock()))
      if (!(await untilRoom())) return false;
  }
  buffer.pass(partition, own, next, clock(), next >= end);
  return true;
}

/** A merge has no use for the row before, which may be as large as the one after; a delete has no other. */
function merged(change: Change): Change {
  return change.after === null ? change : { ...change, before: null };
}

/** A copy: the bytes of a record are part of its whole fetch, which would be kept with it. */
function kept({ offset, key, value }: StreamRecord): MergeItem['record'] {
  return {
    offset,
    key: key === null ? null : Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
  };
}

/** Of a wide record, also what comes of it counts: its text decoded, and written down for the merge. */
function sizeOf({ record: { key, value } }: MergeItem): number {
  const bytes = (key?.length ?? 0) + (value?.length ?? 0);
  return bytes > WIDE_BYTES ? 2 * bytes : bytes;
}
