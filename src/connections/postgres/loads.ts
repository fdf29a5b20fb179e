import type { Pool, PoolClient } from 'pg';
import type { LoadPhase } from '../../flow/load-state.ts';
import type { Load, Loads, LoadStage, PinnedVersion } from '../../ports/load.ts';
import { quoteQualified } from '../identifiers.ts';
import { readGroup } from './control-state.ts';
import type { PostgresWhere } from './errors.ts';
import { instantOf, instantSql, instantText } from './instants.ts';
import { copied } from './load-copy.ts';
import { from, notUnderWay, UNDER_WAY } from './load-phases.ts';
import { holdsRowsAlready } from './load-refusals.ts';
import { createLoadTable, dropLoadTable } from './load-table-ddl.ts';
import { inTransaction } from './transaction.ts';

export interface LoadsOptions {
  readonly pool: Pool;
  /** The table's name in the configuration. */
  readonly name: string;
  /** `schema.table` that is filled, and the columns of its rows. */
  readonly target: string;
  readonly columns: readonly string[];
  /** The load's topic. */
  readonly topic: string;
  /** The live consumers that wait: their group and topic. */
  readonly consumers: { readonly group: string; readonly topic: string };
  /** Whether people's changes of the target are captured. */
  readonly captured: boolean;
  /** Of loads into Delta: who waits meanwhile, and whether the table held rows at a version. */
  readonly intoDelta?: {
    readonly mergers: { readonly group: string; readonly topic: string };
    readonly holdsRows: (version: number) => Promise<boolean>;
  };
}

const LOCK_TIMEOUT = '60s';

/** The loads of one table in the control schema (sql/0003_loads.sql, 0004_load_progress.sql, 0005_passed_over.sql). */
export function createLoads(options: LoadsOptions): Loads {
  const { pool, name, target, topic, consumers, intoDelta } = options;
  const waiting = intoDelta?.mergers ?? consumers;
  const where = (doing: string): PostgresWhere => ({ doing, table: 'deltaferry.loads' });

  async function update(id: string, sql: string, values: readonly unknown[]): Promise<void> {
    await inTransaction(pool, where('noting the progress of the load'), (client) =>
      moved(client, id, sql, values),
    );
  }

  async function moved(
    client: PoolClient,
    id: string,
    sql: string,
    values: readonly unknown[],
  ): Promise<void> {
    const answer = await client.query(sql, [id, ...values]);
    if (answer.rowCount !== 1) throw notUnderWay(id);
  }

  return {
    async newest() {
      return await inTransaction(pool, where('looking for loads'), async (client) => {
        const found = await client.query<LoadRow>(
          `${SELECT} WHERE name = $1 ORDER BY started_at DESC LIMIT 1`,
          [name],
        );
        return found.rows[0] === undefined ? null : loadOf(found.rows[0]);
      });
    },

    async begin({ id, startOffsets, changesLow, copy }) {
      return await inTransaction(pool, where('beginning the load'), async (client) => {
        await client.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
        await client.query(INSERT, [
          id,
          name,
          target,
          topic,
          startOffsets.map(String),
          options.captured,
          sourceOf(intoDelta !== undefined, copy !== undefined),
        ]);
        await client.query(HOLD_NEW, [waiting.group, waiting.topic, changesLow.map(String)]);
        // Waits for the batches in hand: what they applied is seen by the statements below.
        await client.query(HOLD, [waiting.group, waiting.topic, id]);
        await client.query(PASS_EXPIRED, [waiting.group, waiting.topic, changesLow.map(String), id]);
        if (intoDelta === undefined && (await holdsRows(client, target))) {
          if (copy !== undefined) throw holdsRowsAlready(name, target);
          await client.query(RELEASE, [id]);
          await client.query(RECONCILE, [id]);
        }
        if (intoDelta === undefined) await createLoadTable(client, { id, target, columns: options.columns });
        if (copy !== undefined) await copied(client, id, copy);
        const begun = await client.query<LoadRow>(`${SELECT} WHERE id = $1`, [id]);
        return loadOf(begun.rows[0]!);
      });
    },

    async pinned(id, { tableId, version, ts, rows }, liveOffsets) {
      if ((await intoDelta?.holdsRows(version)) === true) await update(id, RECONCILE, []);
      await update(id, PIN, [tableId, version, instantText(ts), rows, liveOffsets.map(String)]);
    },

    async pieces(id) {
      return await inTransaction(pool, where('reading the parts of the load'), async (client) => {
        const found = await client.query<{ piece: string }>(PIECES, [id]);
        return found.rows.map(({ piece }) => piece);
      });
    },

    notePieces: (id, pieces) =>
      inTransaction(pool, where('noting the parts of the load'), async (client) => {
        await moved(client, id, TOUCH, []);
        await client.query(NOTE_PIECES, [id, pieces]);
      }),

    acknowledge: (id, { parts, rows, rejected }) =>
      inTransaction(pool, where('acknowledging parts of the load'), async (client) => {
        await moved(client, id, ACKNOWLEDGE, [rows, rejected]);
        await client.query(ACKNOWLEDGE_PARTS, [id, parts]);
      }),

    noteApplied: (id, rows) => update(id, APPLIED, [rows]),
    published: (id, endOffsets) => update(id, PUBLISHED, [endOffsets.map(String)]),
    consumers: async () => (await readGroup(pool, consumers.group, consumers.topic)).next,
    noteError: (id, text) => update(id, NOTE_ERROR, [text]),
    note: (id, { stage, handoverSeconds, read, compared, heldUp }) =>
      update(id, NOTE, [stage, handoverSeconds, read, compared, heldUp]),

    giveUp: (id) =>
      inTransaction(pool, where('giving up the load'), async (client) => {
        await client.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
        await moved(client, id, GIVE_UP, []);
        await client.query(STAND_AGAIN, [id]);
        await client.query(RELEASE, [id]);
        await dropLoadTable(client, id);
      }),
  };
}

export async function holdsRows(client: PoolClient, target: string): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>(
    `SELECT EXISTS (SELECT FROM ${quoteQualified(target)}) AS found`,
  );
  return rows[0]?.found === true;
}

export const RELEASE = 'UPDATE deltaferry.offsets SET held_by = NULL WHERE held_by = $1';

function sourceOf(isIntoDelta: boolean, isCopy: boolean): Load['source'] {
  if (isIntoDelta) return 'postgres';
  return isCopy ? 'topic' : 'delta';
}

interface LoadRow {
  readonly id: string;
  readonly recordsOf: string;
  readonly name: string;
  readonly target: string;
  readonly topic: string;
  readonly source: Load['source'];
  readonly way: Load['way'];
  readonly captured: boolean;
  readonly logPosition: string | null;
  readonly phase: LoadPhase;
  readonly tableId: string | null;
  readonly version: string | null;
  readonly ts: string | null;
  readonly totalRows: string | null;
  readonly startOffsets: readonly string[] | null;
  readonly endOffsets: readonly string[] | null;
  readonly liveOffsets: readonly string[] | null;
  readonly publishedRows: string;
  readonly rejectedRows: string;
  readonly appliedRows: string;
  readonly startedAt: string;
  readonly error: string | null;
  readonly stage: LoadStage | null;
  readonly stageSeconds: number | null;
  readonly handoverSeconds: number | null;
  readonly readRows: string;
  readonly comparedRows: string;
  readonly heldUp: number;
  readonly finishedAt: string | null;
  readonly tookSeconds: number | null;
}

const SELECT = `
  SELECT id, coalesce(records_of, id) AS "recordsOf", name, target, topic, source, way, captured, log_position::text AS "logPosition", phase, delta_table_id AS "tableId", version,
         ${instantSql('event_time')} AS ts, total_rows AS "totalRows",
         start_offsets::text[] AS "startOffsets", end_offsets::text[] AS "endOffsets", live_offsets::text[] AS "liveOffsets",
         published_rows AS "publishedRows", rejected_rows AS "rejectedRows", applied_rows AS "appliedRows",
         to_char(started_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "startedAt", error,
         stage, extract(epoch FROM clock_timestamp() - stage_since)::float8 AS "stageSeconds",
         handover_seconds AS "handoverSeconds", read_rows AS "readRows", compared_rows AS "comparedRows", held_up AS "heldUp",
         to_char(finished_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "finishedAt",
         extract(epoch FROM finished_at - started_at)::float8 AS "tookSeconds"
  FROM deltaferry.loads`;

function loadOf(row: LoadRow): Load {
  const { tableId, version, ts, totalRows } = row;
  const pinned: PinnedVersion | null =
    tableId === null || version === null || ts === null || totalRows === null
      ? null
      : { tableId, version: Number(version), ts: instantOf(ts), rows: Number(totalRows) };
  return {
    id: row.id,
    recordsOf: row.recordsOf,
    name: row.name,
    target: row.target,
    topic: row.topic,
    source: row.source,
    way: row.way,
    captured: row.captured,
    logPosition: row.logPosition,
    phase: row.phase,
    pinned,
    startOffsets: row.startOffsets?.map(BigInt) ?? null,
    endOffsets: row.endOffsets?.map(BigInt) ?? null,
    liveOffsets: row.liveOffsets?.map(BigInt) ?? null,
    publishedRows: Number(row.publishedRows),
    rejectedRows: Number(row.rejectedRows),
    appliedRows: Number(row.appliedRows),
    startedAt: row.startedAt,
    error: row.error,
    seen: {
      stage: row.stage,
      stageSeconds: row.stageSeconds,
      handoverSeconds: row.handoverSeconds,
      read: Number(row.readRows),
      compared: Number(row.comparedRows),
      heldUp: row.heldUp,
      finishedAt: row.finishedAt,
      tookSeconds: row.tookSeconds,
    },
  };
}

const INSERT = `
  INSERT INTO deltaferry.loads (id, name, target, topic, phase, start_offsets, captured, source)
  VALUES ($1, $2, $3, $4, 'snapshot', $5::bigint[], $6, $7)`;

const HOLD_NEW = `
  INSERT INTO deltaferry.offsets (group_id, topic, partition, next_offset)
  SELECT $1, $2, n - 1, low FROM unnest($3::bigint[]) WITH ORDINALITY AS given(low, n)
  ON CONFLICT DO NOTHING`;

const HOLD = 'UPDATE deltaferry.offsets SET held_by = $3 WHERE group_id = $1 AND topic = $2';

/** What the topic has dropped was published before the load chose its version: the load brings what came of it. */
const PASS_EXPIRED = `
  UPDATE deltaferry.offsets o
  SET next_offset = greatest(given.low, CASE WHEN o.next_offset = o.passed_from THEN o.went_on END),
      passed_from = o.next_offset, passed_for = $4
  FROM unnest($3::bigint[]) WITH ORDINALITY AS given(low, n)
  WHERE o.group_id = $1 AND o.topic = $2 AND o.partition = given.n - 1 AND o.next_offset < given.low`;

/** Nobody brings any more what the topic has dropped: the partitions stop where they stopped before the load. */
const STAND_AGAIN = `
  UPDATE deltaferry.offsets SET next_offset = passed_from, went_on = next_offset, passed_for = NULL
  WHERE passed_for = $1`;

const RECONCILE = `UPDATE deltaferry.loads SET way = 'reconcile' WHERE id = $1`;

// Of a load from Postgres: what its rows, which are read after this, have of the log.
const PIN = `
  UPDATE deltaferry.loads SET delta_table_id = $2, version = $3, event_time = $4, total_rows = $5, live_offsets = $6::bigint[],
         log_position = CASE WHEN source = 'postgres' THEN coalesce(log_position, pg_current_snapshot()) ELSE log_position END
  WHERE id = $1 AND phase = 'snapshot' AND (version IS NULL OR version = $3)`;

const TOUCH = `UPDATE deltaferry.loads SET error = NULL WHERE id = $1 AND phase = 'snapshot'`;

const PIECES = 'SELECT piece FROM deltaferry.load_parts WHERE load = $1 ORDER BY part';

const NOTE_PIECES = `
  INSERT INTO deltaferry.load_parts (load, part, piece)
  SELECT $1, n - 1, piece FROM unnest($2::text[]) WITH ORDINALITY AS given(piece, n)
  ON CONFLICT DO NOTHING`;

const ACKNOWLEDGE = `
  UPDATE deltaferry.loads SET published_rows = $2, rejected_rows = $3
  WHERE id = $1 AND ${UNDER_WAY}`;

const ACKNOWLEDGE_PARTS = `
  UPDATE deltaferry.load_parts SET published_at = clock_timestamp()
  WHERE load = $1 AND part < $2 AND published_at IS NULL`;

const APPLIED = `UPDATE deltaferry.loads SET applied_rows = $2 WHERE id = $1 AND ${UNDER_WAY}`;

// Each may be repeated after its answer was lost.
const PUBLISHED = `
  UPDATE deltaferry.loads SET phase = 'handover', end_offsets = $2::bigint[]
  WHERE id = $1 AND (${from('published')} OR (phase = 'handover' AND end_offsets = $2::bigint[]))`;

const NOTE_ERROR = `UPDATE deltaferry.loads SET error = $2 WHERE id = $1 AND ${UNDER_WAY}`;

const NOTE = `
  UPDATE deltaferry.loads
  SET stage = $2, stage_since = CASE WHEN stage = $2 THEN stage_since ELSE clock_timestamp() END,
      handover_seconds = $3, read_rows = $4, compared_rows = $5, held_up = $6
  WHERE id = $1 AND ${UNDER_WAY}`;

const GIVE_UP = `
  UPDATE deltaferry.loads SET phase = 'failed', finished_at = coalesce(finished_at, now())
  WHERE id = $1 AND (${from('given-up')} OR phase = 'failed')`;
