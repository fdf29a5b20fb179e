import type { Pool } from 'pg';
import { translatePostgres } from './errors.ts';

/** Where a consumer group stands in one topic, as the control schema has it. */
export interface GroupState {
  /** Next offset of each partition that was ever claimed. */
  readonly next: ReadonlyMap<number, bigint>;
  /** The load that it waits for. */
  readonly heldBy: string | null;
  /** When it last moved, ISO text; null where it never did. */
  readonly movedAt: string | null;
}

export async function readGroup(pool: Pool, group: string, topic: string): Promise<GroupState> {
  const { rows } = await pool
    .query<{ partition: number; next: string; heldBy: string | null; movedAt: string }>(GROUP, [group, topic])
    .catch((error: unknown) => {
      throw translatePostgres(error, { doing: 'looking where consumers are', table: 'deltaferry.offsets' });
    });
  const moved = rows.map(({ movedAt }) => movedAt).sort();
  return {
    next: new Map(rows.map(({ partition, next }) => [partition, BigInt(next)])),
    heldBy: rows.find(({ heldBy }) => heldBy !== null)?.heldBy ?? null,
    movedAt: moved.at(-1) ?? null,
  };
}

/** Since when a merge has been under way, or not known to have ended; null where none is. ISO text. */
export async function readPendingMerge(pool: Pool, sink: string): Promise<string | null> {
  const { rows } = await pool.query<{ since: string | null }>(PENDING, [sink]).catch((error: unknown) => {
    throw translatePostgres(error, { doing: 'looking at merges', table: 'deltaferry.merge_marks' });
  });
  return rows[0]?.since ?? null;
}

const iso = (column: string): string => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

const GROUP = `
  SELECT partition, next_offset AS next, held_by AS "heldBy", ${iso('updated_at')} AS "movedAt"
  FROM deltaferry.offsets WHERE group_id = $1 AND topic = $2`;

const PENDING = `
  SELECT ${iso('pending_since')} AS since FROM deltaferry.merge_marks WHERE sink = $1 AND pending IS NOT NULL`;
