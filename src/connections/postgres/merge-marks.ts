import type { ClientBase, Pool, QueryConfig, QueryResultRow } from 'pg';
import { FencedError } from '../../errors.ts';
import { HeldByLoadError } from '../../ports/history-sink.ts';
import type { LedgerState, MergeLedger, MergeTurn, OffsetMove } from '../../ports/merge-ledger.ts';
import { translatePostgres, type PostgresWhere } from './errors.ts';
import { createMergeTurns, type HeldTurn, type MergeTurnsOptions } from './merge-turns.ts';
import { roleOf } from './pool.ts';
import { inTransaction } from './transaction.ts';

export interface MergeLedgerOptions {
  /** Stays the caller's: used for what needs no turn. */
  readonly pool: Pool;
  /** A direct connection to the same database, for the lock. */
  readonly direct: MergeTurnsOptions;
  /** The row of `deltaferry.merge_marks`, and the lock's name: one per table that is merged into. */
  readonly sink: string;
  readonly group: string;
  readonly topic: string;
}

/**
 * The ledger in the control schema: `deltaferry.offsets` and `deltaferry.merge_marks`. What the holder of
 * the turn writes goes through the connection that holds the lock, so without the lock it writes nothing;
 * and each statement says what it expects to find, so that an older one changes nothing either.
 */
export function createMergeLedger({ pool, direct, sink, group, topic }: MergeLedgerOptions): MergeLedger {
  const turns = createMergeTurns(sink, direct);
  const where: PostgresWhere = {
    doing: 'keeping account of merges',
    table: 'deltaferry.merge_marks',
    role: roleOf(pool),
  };

  async function state(client: Pool | ClientBase): Promise<LedgerState> {
    return stateOf((await run<StateRow>(client, { text: STATE, values: [sink, group, topic] })).rows[0]);
  }

  async function heldBy(client: Pool | ClientBase): Promise<string | null> {
    const found = await run<{ load: string }>(client, { text: HELD_BY, values: [group, topic] });
    return found.rows[0]?.load ?? null;
  }

  async function run<R extends QueryResultRow>(client: Pool | ClientBase, query: QueryConfig) {
    try {
      return await client.query<R>(query);
    } catch (error) {
      throw translatePostgres(error, where);
    }
  }

  function turnOn({ client, lost, release }: HeldTurn): MergeTurn {
    return {
      lost,
      state: () => state(client),
      async begin(epoch, mark, moves) {
        const values = [sink, group, topic, epoch, mark, ...columnsOf(moves)];
        const begun = await run(client, { text: BEGIN, values });
        if (begun.rowCount === 1) return;
        const load = moves.length === 0 ? null : await heldBy(client);
        throw load === null ? notAtExpected(topic, moves) : new HeldByLoadError(load, `Topic ${topic}`);
      },
      async finish(mark, offsets) {
        await run(client, { text: FINISH, values: [sink, group, topic, mark, ...offsetColumns(offsets)] });
      },
      async forget(mark) {
        await run(client, { text: FORGET, values: [sink, mark] });
      },
      async raise(offsets) {
        if (offsets.size > 0)
          await run(client, { text: RAISE, values: [group, topic, ...offsetColumns(offsets)] });
      },
      async advance(epoch) {
        await run(client, { text: ADVANCE, values: [sink, epoch] });
      },
      release,
    };
  }

  return {
    async claim(starts) {
      return await inTransaction(pool, where, async (client) => {
        await client.query(FIRST_MARKS, [sink]);
        await client.query(CLAIM, [group, topic, ...offsetColumns(starts)]);
        return await state(client);
      });
    },
    async move(moves) {
      await inTransaction(pool, where, async (client) => {
        const moved = await client.query(MOVE, [group, topic, ...columnsOf(moves)]);
        if (moved.rowCount !== moves.length) throw notAtExpected(topic, moves);
      });
    },
    heldBy: () => heldBy(pool),
    async turn(signal) {
      return turnOn(await turns.take(signal));
    },
    async turnIfFree() {
      const held = await turns.takeIfFree();
      return held === null ? null : turnOn(held);
    },
    close: () => turns.close(),
  };
}

const FIRST_MARKS = 'INSERT INTO deltaferry.merge_marks (sink) VALUES ($1) ON CONFLICT DO NOTHING';

const CLAIM = `
  INSERT INTO deltaferry.offsets (group_id, topic, partition, next_offset)
  SELECT $1, $2, partition, start FROM unnest($3::int[], $4::bigint[]) AS given(partition, start)
  ON CONFLICT DO NOTHING`;

const STATE = `
  SELECT m.epoch, m.pending, (extract(epoch FROM m.pending_since) * 1000)::float8 AS "sinceMs",
    array(SELECT partition FROM deltaferry.offsets WHERE group_id = $2 AND topic = $3 ORDER BY partition) AS partitions,
    array(SELECT next_offset::text FROM deltaferry.offsets WHERE group_id = $2 AND topic = $3 ORDER BY partition) AS nexts
  FROM (SELECT) AS one LEFT JOIN deltaferry.merge_marks AS m ON m.sink = $1`;

const MOVE = `
  UPDATE deltaferry.offsets AS o SET next_offset = given.next, updated_at = now()
  FROM unnest($3::int[], $4::bigint[], $5::bigint[]) AS given(partition, expected, next)
  WHERE o.group_id = $1 AND o.topic = $2 AND o.partition = given.partition AND o.next_offset = given.expected`;

const BEGIN = `
  UPDATE deltaferry.merge_marks SET pending = $5, pending_since = now(), updated_at = now()
  WHERE sink = $1 AND epoch = $4 AND pending IS NULL AND cardinality($6::int[]) = (
    SELECT count(*) FROM unnest($6::int[], $7::bigint[], $8::bigint[]) AS given(partition, expected, next)
    JOIN deltaferry.offsets AS o ON o.group_id = $2 AND o.topic = $3 AND o.partition = given.partition
      AND o.next_offset = given.expected AND o.held_by IS NULL)`;

const HELD_BY = `
  SELECT held_by AS load FROM deltaferry.offsets
  WHERE group_id = $1 AND topic = $2 AND held_by IS NOT NULL LIMIT 1`;

/** Where the mark is not pending any more, somebody has settled it, by these very offsets. */
const FINISH = `
  WITH done AS (
    UPDATE deltaferry.merge_marks SET pending = NULL, pending_since = NULL, updated_at = now()
    WHERE sink = $1 AND pending = $4 RETURNING 1)
  UPDATE deltaferry.offsets AS o SET next_offset = given.next, updated_at = now()
  FROM unnest($5::int[], $6::bigint[]) AS given(partition, next)
  WHERE EXISTS (SELECT FROM done) AND o.group_id = $2 AND o.topic = $3
    AND o.partition = given.partition AND o.next_offset < given.next`;

const FORGET = `
  UPDATE deltaferry.merge_marks SET pending = NULL, pending_since = NULL, updated_at = now()
  WHERE sink = $1 AND pending = $2`;

const RAISE = `
  INSERT INTO deltaferry.offsets AS o (group_id, topic, partition, next_offset)
  SELECT $1, $2, partition, next FROM unnest($3::int[], $4::bigint[]) AS given(partition, next)
  ON CONFLICT (group_id, topic, partition) DO UPDATE SET next_offset = excluded.next_offset, updated_at = now()
  WHERE o.next_offset < excluded.next_offset`;

const ADVANCE = `
  INSERT INTO deltaferry.merge_marks AS m (sink, epoch) VALUES ($1, $2)
  ON CONFLICT (sink) DO UPDATE SET epoch = excluded.epoch, updated_at = now() WHERE m.epoch < excluded.epoch`;

interface StateRow extends QueryResultRow {
  readonly epoch: string | null;
  readonly pending: string | null;
  readonly sinceMs: number | null;
  readonly partitions: readonly number[];
  readonly nexts: readonly string[];
}

function stateOf(row: StateRow | undefined): LedgerState {
  const { epoch = null, pending = null, sinceMs = null, partitions = [], nexts = [] } = row ?? {};
  return {
    epoch: BigInt(epoch ?? 0),
    pending: pending === null ? null : { mark: pending, since: new Date(sinceMs ?? 0) },
    offsets: new Map(partitions.map((partition, index) => [partition, BigInt(nexts[index] ?? 0)])),
  };
}

function columnsOf(moves: readonly OffsetMove[]): [number[], bigint[], bigint[]] {
  return [
    moves.map(({ partition }) => partition),
    moves.map(({ expected }) => expected),
    moves.map(({ next }) => next),
  ];
}

function offsetColumns(offsets: ReadonlyMap<number, bigint>): [number[], bigint[]] {
  return [Array.from(offsets.keys()), Array.from(offsets.values())];
}

function notAtExpected(topic: string, moves: readonly OffsetMove[]): FencedError {
  const places = moves.slice(0, 5).map(({ partition, expected }) => `${partition} at ${expected}`);
  return new FencedError({
    code: 'OFFSET_MOVED',
    message: `Partitions of ${topic} are not where this merge begins (${places.join(', ')}${moves.length > 5 ? ', …' : ''}): another replica merges them.`,
  });
}
