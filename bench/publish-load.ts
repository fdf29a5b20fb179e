import type { Row } from '../src/change/change.ts';
import { openKafka } from '../src/connections/kafka/client.ts';
import { progressPosition } from '../src/flow/load-manifest.ts';
import type { SnapshotRow, SnapshotSource } from '../src/ports/load.ts';
import { publishLoad } from '../src/producers/load-publisher.ts';
import { mappingOf } from '../src/service/config/table-schema.ts';
import { kafkaOptions } from '../src/service/connect.ts';
import { createLogger } from '../src/service/logger.ts';
import { wireChangeLog } from '../src/service/wire-change-log.ts';
import type { Site } from './site.ts';

const ROWS_PER_PIECE = 50_000;

/** Publishes as many rows as a load does, made in memory: no Delta, and nobody who reads them. Milliseconds. */
export async function publishFromMemory(site: Site, rows: number): Promise<number> {
  const { config } = site;
  const table = config.tables[0]!;
  const topic = `${table.backfillTopic}_from_memory`;
  const admin = openKafka(kafkaOptions(config)).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: table.partitions }] });
  const logger = createLogger({ level: 'error', format: 'json' });
  const log = wireChangeLog({ config, table, logger }, 'bench-load', topic);
  const announced = { load: 'bench', postgresId: config.postgres.id };
  try {
    await log.open();
    const position = progressPosition(announced, { parts: 0, at: null, rows: 0, rejected: 0 });
    await log.publish({ changes: [], rejected: [], position });
    const source = rowsFromMemory(rows);
    const pinned = await source.pin();
    const { signal } = new AbortController();
    const pieces = await source.pieces('bench', pinned, signal);
    const began = performance.now();
    const published = await publishLoad(
      {
        ...announced,
        name: table.name,
        topics: { newestLoad: async () => null },
        pinned,
        pieces,
        mapping: mappingOf(table),
        origin: config.databricks.id,
        source,
        log,
        room: async () => {},
        onPublished: () => {},
        onRead: () => {},
      },
      signal,
    );
    if (published.rows !== rows) throw new Error(`${published.rows} rows published`);
    return performance.now() - began;
  } finally {
    await log.close();
    await admin.deleteTopics({ topics: [topic] });
    await admin.disconnect();
  }
}

/** The rows that the benchmark's Delta table holds, without it. */
export function rowsFromMemory(rows: number): SnapshotSource {
  return {
    pin: async () => ({ tableId: 'bench', version: 0, ts: 0, rows }),
    pieces: async () => Array.from({ length: Math.ceil(rows / ROWS_PER_PIECE) }, (_, piece) => String(piece)),
    async *read({ pieces }) {
      for (const piece of pieces) yield { rows: made(Number(piece) * ROWS_PER_PIECE, rows), at: null };
    },
    tidy: async () => {},
  };
}

function made(from: number, rows: number): SnapshotRow[] {
  const count = Math.min(ROWS_PER_PIECE, rows - from);
  return Array.from({ length: count }, (_, index) => {
    const id = from + index;
    const row: Row = [id, `Employee ${id}`, `${50_000 + (id % 1000)}.00`];
    return { kind: 'row', row };
  });
}
