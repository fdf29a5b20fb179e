import type { SnapshotSource } from '../src/ports/load.ts';

/** A load's own reading, and nobody who takes the rows; the pieces are made before. Milliseconds. */
export async function readAlone(source: SnapshotSource, rows: number): Promise<number> {
  const { signal } = new AbortController();
  const load = 'bench_read_alone';
  const pinned = await source.pin();
  const pieces = await source.pieces(load, pinned, signal);
  const began = performance.now();
  let read = 0;
  for await (const part of source.read({ pieces, at: null }, pinned, signal)) read += part.rows.length;
  const ms = performance.now() - began;
  await source.tidy(load);
  if (read !== rows) throw new Error(`${read} rows read`);
  return ms;
}
