import type { PoolClient } from 'pg';
import { SEES_NOTHING } from '../../flow/log-position.ts';
import type { LoadCopy } from '../../ports/load.ts';
import { instantText } from './instants.ts';
import { from, notUnderWay } from './load-phases.ts';

/** Notes what is known of a load that was just begun and whose records are on the topic already. Throws a FencedError where it is further. */
export async function copied(client: PoolClient, id: string, copy: LoadCopy): Promise<void> {
  const { recordsOf, pinned, rows, rejected, endOffsets, liveOffsets } = copy;
  const noted = await client.query(COPIED, [
    id,
    recordsOf,
    pinned.tableId,
    pinned.version,
    instantText(pinned.ts),
    pinned.rows,
    rows,
    rejected,
    endOffsets.map(String),
    liveOffsets.map(String),
    SEES_NOTHING,
  ]);
  if (noted.rowCount !== 1) throw notUnderWay(id);
}

/** The consumers that waited go on behind what was copied, wherever they stood. */
export async function goOnBehindCopy(client: PoolClient, id: string): Promise<void> {
  await client.query(GO_ON, [id]);
}

// Anything that people have ever changed in a captured target came after the load, or may have: it sees none of it.
const COPIED = `
  UPDATE deltaferry.loads
  SET phase = 'handover', records_of = $2, delta_table_id = $3, version = $4, event_time = $5, total_rows = $6,
      published_rows = $7, rejected_rows = $8, end_offsets = $9::bigint[], live_offsets = $10::bigint[],
      log_position = CASE WHEN captured THEN $11::pg_snapshot END
  WHERE id = $1 AND ${from('published')}`;

const GO_ON = `
  UPDATE deltaferry.offsets o SET next_offset = l.live_offsets[o.partition + 1]
  FROM deltaferry.loads l WHERE l.id = $1 AND l.source = 'topic' AND o.held_by = l.id`;
