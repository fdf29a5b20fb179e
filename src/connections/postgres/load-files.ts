import type { Pool } from 'pg';
import { FencedError } from '../../errors.ts';
import type { Load } from '../../ports/load.ts';
import type { LoadFiles } from '../../ports/load-into-delta.ts';
import type { PostgresWhere } from './errors.ts';
import { finish } from './load-handover.ts';
import { checkComplete } from './load-refusals.ts';
import { RELEASE } from './loads.ts';
import { inTransaction } from './transaction.ts';

/** The files of one load into Delta in `deltaferry.load_files`. */
export function createLoadFiles(pool: Pool, load: Load): LoadFiles {
  const where = (doing: string): PostgresWhere => ({ doing, table: 'deltaferry.load_files' });

  return {
    claim: () =>
      inTransaction(pool, where('looking how far the load is'), async (client) => {
        const found = await client.query<{ partition: number; seq: number; next: string; skip: string }>(
          LAST,
          [load.id],
        );
        const starts = (load.startOffsets ?? []).map(
          (next, partition) => [partition, { next, skip: 0, seq: 0 }] as const,
        );
        const last = found.rows.map(
          ({ partition, seq, next, skip }) =>
            [partition, { next: BigInt(next), skip: Number(skip), seq: seq + 1 }] as const,
        );
        return new Map([...starts, ...last]);
      }),

    note: ({ partition, seq, slice, path, rows, place }) =>
      inTransaction(pool, where('noting a file of the load'), async (client) => {
        const noted = await client.query(NOTE, [
          load.id,
          partition,
          seq,
          slice,
          path,
          rows,
          place.next,
          place.skip,
        ]);
        if (noted.rowCount !== 1)
          throw new FencedError({
            code: 'OFFSET_MOVED',
            message: `Partition ${partition} of ${load.topic} has its file ${seq} for the load ${load.id} already: another process loads it.`,
          });
      }),

    rows: () =>
      inTransaction(pool, where('counting the rows of the load'), async (client) => {
        const { rows } = await client.query<{ rows: string | null }>(SUM, [load.id]);
        return Number(rows[0]?.rows ?? 0);
      }),

    complete: () =>
      inTransaction(pool, where('looking for the files of the load'), async (client) => {
        const { rows } = await client.query<FileRow>(ALL, [load.id]);
        const files = rows.map(({ next, skip, rows: count, ...file }) => ({
          ...file,
          rows: Number(count),
          place: { next: BigInt(next), skip: Number(skip) },
        }));
        checkComplete(
          load,
          files.reduce((sum, file) => sum + file.rows, 0),
        );
        return files;
      }),

    merged: (files) =>
      inTransaction(pool, where('noting what is merged'), async (client) => {
        await client.query(MERGED, [load.id, [...new Set(files.map(({ slice }) => slice))]]);
      }),

    finish: () =>
      inTransaction(pool, { doing: 'ending the load', table: load.target }, async (client) => {
        if (!(await finish(client, load))) return;
        await client.query(GO_ON, [load.id]);
        await client.query(RELEASE, [load.id]);
      }),
  };
}

/**
 * Changes that were on the topic before the rows were read are in them. One of a transaction that a restored database
 * has lost is not, and must not come after them.
 */
const GO_ON = `
  UPDATE deltaferry.offsets o SET next_offset = l.live_offsets[o.partition + 1], updated_at = now()
  FROM deltaferry.loads l
  WHERE l.id = $1 AND o.held_by = l.id AND o.next_offset < l.live_offsets[o.partition + 1]`;

interface FileRow {
  readonly partition: number;
  readonly seq: number;
  readonly slice: number;
  readonly path: string;
  readonly rows: string;
  readonly next: string;
  readonly skip: string;
  readonly merged: boolean;
}

const LAST = `
  SELECT DISTINCT ON (partition) partition, seq, next_offset AS next, skip FROM deltaferry.load_files
  WHERE load = $1 ORDER BY partition, seq DESC`;

const NOTE = `
  INSERT INTO deltaferry.load_files (load, partition, seq, slice, path, rows, next_offset, skip)
  SELECT $1, $2, $3, $4, $5, $6, $7, $8
  WHERE $3 = 0 OR EXISTS (SELECT FROM deltaferry.load_files WHERE load = $1 AND partition = $2 AND seq = $3 - 1)
  ON CONFLICT DO NOTHING`;

const ALL = `
  SELECT partition, seq, slice, path, rows, next_offset AS next, skip, merged_at IS NOT NULL AS merged
  FROM deltaferry.load_files WHERE load = $1 ORDER BY slice, partition, seq`;

const MERGED = `
  UPDATE deltaferry.load_files SET merged_at = now() WHERE load = $1 AND slice = ANY ($2::int[]) AND merged_at IS NULL`;

const SUM = 'SELECT sum(rows) AS rows FROM deltaferry.load_files WHERE load = $1';
