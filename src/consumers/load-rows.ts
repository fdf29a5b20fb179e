import type { Row } from '../change/change.ts';
import type { TableMapping } from '../change/table.ts';
import { reactionTo } from '../error-policy.ts';
import { persist } from '../flow/persist.ts';
import { createSlots } from '../flow/slots.ts';
import type { Load, LoadRecords, LoadRecordsPart, LoadTable } from '../ports/load.ts';
import type { SchemaSource } from '../ports/schema-source.ts';
import { createRecordReaders, type RecordReader } from './record-reader.ts';

export interface LoadRowsOptions {
  readonly load: Load;
  readonly mapping: TableMapping;
  readonly table: LoadTable;
  readonly records: LoadRecords;
  readonly schemas: SchemaSource;
  /** Where the load's records end, per partition; null as long as they are still being published. */
  readonly ends: () => Promise<readonly bigint[] | null>;
  /** Batches that are written at once, each on a connection. */
  readonly concurrently: number;
  /** Rows in the table by now. */
  readonly onApplied: (rows: number) => void;
  readonly onRetry?: (error: unknown) => void;
  readonly random?: () => number;
}

const ASK_FOR_ENDS_MS = 250;

/**
 * Loads the records of one load into its table, each exactly once, until everything that was published is
 * there. Records of other loads, and whatever else is on the topic, are passed over: the hand-over counts.
 */
export async function loadRows(options: LoadRowsOptions, signal: AbortSignal): Promise<void> {
  const { load, table, records } = options;
  const slots = createSlots(options.concurrently);
  const readers = createRecordReaders({
    topic: load.topic,
    table: options.mapping,
    schemas: options.schemas,
    origin: NOBODY,
    skewMs: Number.POSITIVE_INFINITY,
    now: Date.now,
  });
  let ends: readonly bigint[] | null = null;

  async function attempt(alive: () => void): Promise<void> {
    const from = await table.claim();
    let applied = await table.rows();
    options.onApplied(applied);
    const asking = setInterval(() => {
      if (ends === null)
        options.ends().then(
          (found) => (ends = found),
          () => {},
        );
    }, ASK_FOR_ENDS_MS);
    try {
      ends ??= await options.ends();
      await records.read(
        {
          from,
          end: (partition) => ends?.[partition] ?? null,
          handle: (part) =>
            slots.run(async () => {
              const rows = await rowsOf(part, readers(), load.recordsOf);
              await table.append({ partition: part.partition, expected: part.from, next: part.next, rows });
              applied += rows.length;
              alive();
              options.onApplied(applied);
            }),
        },
        signal,
      );
      await table.finish?.();
    } finally {
      clearInterval(asking);
    }
  }

  await persist(
    attempt,
    {
      mayPass: (error) => reactionTo(error) === 'retry',
      onRetry: options.onRetry,
      random: options.random ?? Math.random,
    },
    signal,
  );
}

/** No origin is skipped: a load brings what its source holds, whoever wrote it. */
const NOBODY = '';

async function rowsOf(part: LoadRecordsPart, reader: RecordReader, load: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const record of part.records) {
    const answer = reader.read(record);
    const reading = answer instanceof Promise ? await answer : answer;
    if (reading.kind !== 'change') continue;
    const { change } = reading;
    if (change.load === load && change.op === 'snapshot' && change.after !== null) rows.push(change.after);
  }
  return rows;
}
