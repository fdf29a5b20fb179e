import type { Micros } from '../change/change.ts';
import type { TableMapping } from '../change/table.ts';
import type { LoadRecords } from '../ports/load.ts';
import type { SchemaSource } from '../ports/schema-source.ts';
import { createRecordReaders } from './record-reader.ts';

export interface EarlierChangesOptions {
  readonly topic: string;
  readonly mapping: TableMapping;
  /** The id of the database that is loaded: what it has changed itself it does not take from the topic. */
  readonly target: string;
  readonly records: LoadRecords;
  readonly schemas: SchemaSource;
  /** Where the topic ends now. */
  readonly ends: () => Promise<readonly bigint[]>;
}

/**
 * The key of a change on the topic, at one of these offsets or behind it, that was not made by `origin` and has an
 * event time of `ts` or before; null where there is none. What the target has changed itself does not count.
 */
export async function earlierChange(
  { topic, mapping, target, records, schemas, ends }: EarlierChangesOptions,
  {
    origin,
    ts,
    liveOffsets,
  }: { readonly origin: string; readonly ts: Micros; readonly liveOffsets: readonly bigint[] },
  signal: AbortSignal,
): Promise<string | null> {
  const readers = createRecordReaders({
    topic,
    table: mapping,
    schemas,
    origin,
    skewMs: Number.POSITIVE_INFINITY,
    now: Date.now,
  });
  const until = await ends();
  let found: string | null = null;
  await records.read(
    {
      from: new Map(liveOffsets.map((offset, partition) => [partition, offset])),
      end: (partition) => until[partition] ?? 0n,
      async handle(part) {
        if (found !== null) return;
        const reader = readers();
        for (const record of part.records) {
          const reading = await reader.read(record);
          if (reading.kind !== 'change' || reading.change.origin === target) continue;
          if (reading.change.ts <= ts) found = reading.change.key;
        }
      },
    },
    signal,
  );
  return found;
}
