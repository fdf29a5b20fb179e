import type { Pool } from 'pg';
import type { CapturedWay } from '../../ports/load.ts';
import type { Snapshot } from '../../ports/postgres-log.ts';
import { readGroup } from './control-state.ts';
import { countBetween } from './load-edits.ts';
import { notUnderWay } from './load-phases.ts';
import { inTransaction } from './transaction.ts';

export interface CapturedWayOptions {
  readonly pool: Pool;
  /** The table's name in the configuration. */
  readonly name: string;
  /** The group that merges the table's changes into Delta, and their topic. */
  readonly mergers: { readonly group: string; readonly topic: string };
  /** What the log's poller has published, durably. */
  readonly acknowledged: () => Promise<Snapshot>;
}

/** What a load has to know of the way from its captured target to Delta. */
export function createCapturedWay({ pool, name, mergers, acknowledged }: CapturedWayOptions): CapturedWay {
  return {
    logPosition: (load) =>
      inTransaction(pool, { doing: 'choosing where in the log the load begins' }, async (client) => {
        const { rows } = await client.query<{ position: Snapshot }>(CHOOSE, [load]);
        if (rows[0] === undefined) throw notUnderWay(load);
        return rows[0].position;
      }),

    unpublished: async (position) => await countBetween(pool, name, await acknowledged(), position),
    merged: async () => (await readGroup(pool, mergers.group, mergers.topic)).next,
  };
}

const CHOOSE = `
  UPDATE deltaferry.loads SET log_position = coalesce(log_position, pg_current_snapshot())
  WHERE id = $1 AND phase = 'snapshot' RETURNING log_position::text AS position`;
