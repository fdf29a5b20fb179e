import { reactionTo } from '../error-policy.ts';
import { backoff } from '../flow/backoff.ts';
import { Bell } from '../flow/bell.ts';
import { MergeBuffer } from '../flow/merge-buffer.ts';
import type { BatchOutcome, PartitionRange, StreamBatch, StreamHandler } from '../ports/record-stream.ts';
import type { DeltaMergeOptions } from './delta-merge-options.ts';
import { MergeHand, type MergedNow, type MergeItem } from './merge-hand.ts';
import { fill, readBatch } from './merge-intake.ts';
import { MergePartition } from './merge-partition.ts';
import { createMergeRest } from './merge-rest.ts';
import { createMergeUpkeep } from './merge-upkeep.ts';
import { outOfRange, stateAfter, type PartitionState } from './partition-state.ts';
import { createRecordReaders } from './record-reader.ts';

export interface DeltaMerge {
  /** Takes in what is read: a batch is done once it is held, and waits while there is no room. */
  readonly handler: StreamHandler;
  /** Does one piece of the merging if it is time for it; answers in how many milliseconds to ask again. */
  tend(signal: AbortSignal): Promise<number>;
  /** Reads and merges until the signal aborts; the merge in hand is finished. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
}

const KEEP_ALIVE_MS = 2000;
/** After how long a batch is asked for again that came before its partition was ready. */
const NOT_READY_MS = 50;

/**
 * Feeds the changes topic into a table that is written in merges, each change exactly once: reading
 * and merging go side by side, the sink moves the offsets with the rows, and every doubt is settled by
 * asking it. Knows no driver.
 */
export function createDeltaMerge(options: DeltaMergeOptions): DeltaMerge {
  const { topic, table, sink, stream } = options;
  const now = options.now ?? Date.now;
  const clock = options.clock ?? (() => performance.now());
  const random = options.random ?? Math.random;
  const stoppedRetryMs = options.stoppedRetryMs ?? 30_000;
  const retries = { initialMs: 100, maxMs: options.maxRetryMs ?? 10_000, random };
  const rest = createMergeRest({ retries, stoppedRetryMs });
  const buffer = new MergeBuffer<MergeItem>({
    records: options.maxChanges ?? 100_000,
    bytes: options.maxBytes ?? 32 * 1024 * 1024,
    minAgeMs: options.minAgeMs ?? 200,
    maxAgeMs: options.maxAgeMs ?? 2000,
  });
  const readers = createRecordReaders({
    topic,
    table,
    schemas: options.schemas,
    origin: options.origin,
    skewMs: options.skewMs ?? 5 * 60_000,
    now,
  });
  const upkeep = createMergeUpkeep({
    sink,
    everyMs: options.optimizeEveryMs ?? 0,
    clock,
    onFailed: (error) => options.onOptimizeFailed?.(error),
  });
  const ours = new Map<number, MergePartition>();
  /** Rings whenever there may be something to merge. */
  const news = new Bell();
  /** Rings whenever there may be room. Not by those who wait for some: they would wake each other for ever. */
  const room = new Bell();
  let hand: MergeHand | null = null;
  let restUntil = -Infinity;
  let underWay: { readonly partitions: readonly number[]; readonly ended: Promise<void> } | null = null;
  /** Aborts as soon as we are told to stop: nothing is waited for any more but the merge in hand. */
  let leaving = new AbortController();

  async function assigned(ranges: ReadonlyMap<number, PartitionRange>): Promise<ReadonlyMap<number, bigint>> {
    const fresh = [...ranges].map(([partition, range]) => begin(partition, range));
    // The sink stands elsewhere once a merge that is under way has ended.
    if (underWay?.partitions.some((partition) => ranges.has(partition)) === true) await underWay.ended;
    let offsets: ReadonlyMap<number, bigint>;
    try {
      const startAt = (partition: number): bigint => ranges.get(partition)?.low ?? 0n;
      offsets = await sink.claim([...ranges.keys()], startAt, leaving.signal);
    } catch (error) {
      if (leaving.signal.aborted) return new Map();
      for (const own of fresh) own.reading(stateAfter(error));
      // Thrown: asked again soon. Left out: asked again later.
      if (reactionTo(error) === 'retry') throw error;
      return new Map();
    }
    const answer = new Map<number, bigint>();
    for (const own of fresh) {
      const { partition, low, end: high } = own;
      const offset = offsets.get(partition) ?? low;
      const place = {
        topic,
        partition,
        offset,
        table: table.name,
        target: 'the Delta table',
        loadFrom: 'postgres',
      } as const;
      const problem = outOfRange(place, { low, high });
      own.reading(problem === null ? null : stateAfter(problem));
      if (problem !== null || own.gone) continue;
      own.stored = offset;
      buffer.start(partition, offset);
      answer.set(partition, offset);
    }
    return answer;
  }

  function begin(partition: number, { low, high }: PartitionRange): MergePartition {
    letGo(partition);
    const own = new MergePartition({
      topic,
      partition,
      low,
      end: high,
      deadLetters: options.deadLetters,
      waits: backoff(retries),
      now,
      onState: (state) => options.onState?.(partition, state),
      onDeadLetter: (letter) => options.onDeadLetter?.(letter),
    });
    ours.set(partition, own);
    return own;
  }

  /** Nothing that is held of the partition is merged any more; a merge under way may end. */
  function letGo(partition: number): void {
    const own = ours.get(partition);
    if (own !== undefined) own.gone = true;
    ours.delete(partition);
    buffer.drop([partition]);
    room.ring();
    news.ring();
  }

  async function batch(incoming: StreamBatch, keepAlive: () => Promise<void>): Promise<BatchOutcome> {
    const { partition, from, next, end } = incoming;
    const own = ours.get(partition);
    const position = buffer.position(partition);
    if (own === undefined || position === null) return { kind: 'pause', ms: NOT_READY_MS };
    // Ahead: held already. Behind: records are missing in between.
    if (position < from || position > next) return { kind: 'seek', offset: position };
    const beat = setInterval(() => void keepAlive(), KEEP_ALIVE_MS).unref();
    try {
      const read = await readBatch(incoming, position, readers());
      own.end = end;
      upkeep.giveWay();
      const untilRoom = async (): Promise<boolean> => {
        news.ring();
        if (!own.gone && !leaving.signal.aborted) await room.rung(room.rings);
        return !own.gone && !leaving.signal.aborted;
      };
      if (own.gone || !(await fill(buffer, incoming, read, { untilRoom, clock })))
        return { kind: 'pause', ms: 0 };
      own.reading(null);
      own.waits.reset();
      news.ring();
      tellLag(partition);
      return { kind: 'done', next };
    } catch (error) {
      const state = stateAfter(error);
      own.reading(state);
      return { kind: 'pause', ms: state.kind === 'stopped' ? stoppedRetryMs : own.waits.next() };
    } finally {
      clearInterval(beat);
    }
  }

  /** Where the sink is, or where reading is if nothing in between was for the sink. */
  function durableOf(own: MergePartition): bigint | null {
    const { partition, stored } = own;
    const position = buffer.position(partition);
    const held = buffer.holds(partition) || hand?.partitions.includes(partition) === true;
    return position === null || !held ? position : stored;
  }

  function tellLag(partition: number): void {
    const own = ours.get(partition);
    const durable = own === undefined ? null : durableOf(own);
    if (own !== undefined && durable !== null)
      options.onLag?.(partition, Math.max(0, Number(own.end - durable)));
  }

  /** Records that lie on the topic still, as far as the last fetches told. */
  function toCome(): number {
    let records = 0;
    for (const { partition, end } of ours.values())
      records += Math.max(0, Number(end - (buffer.position(partition) ?? end)));
    return records;
  }

  async function tend(signal: AbortSignal): Promise<number> {
    if (hand === null) {
      const ms = buffer.dueIn(clock(), toCome());
      if (ms > 0) return buffer.isEmpty ? await upkeep.tend(signal) : ms;
      hand = take();
      room.ring();
    }
    const { partitions } = hand;
    if (partitions.length === 0) {
      hand = null;
      restUntil = -Infinity;
      return 0;
    }
    const resting = restUntil - clock();
    if (resting > 0) return resting;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    underWay = { partitions, ended };
    try {
      await hand.merge(signal);
      rest.ended();
    } catch (error) {
      const { partitions } = hand;
      const show = (state: PartitionState): void => {
        for (const partition of partitions) ours.get(partition)?.merging(state);
      };
      restUntil = clock() + rest.after(error, show);
    } finally {
      underWay = null;
      resolve();
    }
    return 0;
  }

  function take(): MergeHand {
    const parts = buffer.take().flatMap((part) => {
      const own = ours.get(part.partition);
      return own === undefined ? [] : [{ ...part, own }];
    });
    return new MergeHand(parts, {
      sink,
      onMerged: merged,
      onLost(partitions) {
        for (const partition of partitions) letGo(partition);
        stream.reread(partitions);
      },
    });
  }

  function merged({ covered, ...outcome }: MergedNow): void {
    const at = now();
    rest.moved();
    if (outcome.changes.length > 0) upkeep.merged();
    const latenciesMs = Float64Array.from(covered, ({ ts }) => at - Number(ts) / 1000);
    options.onMerged?.({ ...outcome, records: covered.length, latenciesMs });
    for (const partition of outcome.partitions) {
      ours.get(partition)?.merging(null);
      tellLag(partition);
    }
  }

  async function mergeUntil(signal: AbortSignal): Promise<void> {
    const late = new AbortController();
    let lateTimer: NodeJS.Timeout | undefined;
    const stop = (): void => {
      leaving.abort(signal.reason);
      lateTimer = setTimeout(() => late.abort(signal.reason), options.finishMs ?? 10_000);
      upkeep.giveWay();
      room.ring();
      news.ring();
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    try {
      while (!signal.aborted) {
        const { rings } = news;
        const ms = await tend(late.signal);
        if (ms > 0) await news.rung(rings, ms);
      }
    } finally {
      clearTimeout(lateTimer);
      signal.removeEventListener('abort', stop);
    }
  }

  const handler: StreamHandler = {
    assigned,
    revoked(partitions) {
      for (const partition of partitions) {
        ours.get(partition)?.released();
        letGo(partition);
      }
    },
    batch,
    durable: () =>
      new Map(
        [...ours.values()].flatMap((own) => {
          const durable = durableOf(own);
          return durable === null ? [] : [[own.partition, durable] as const];
        }),
      ),
  };

  return {
    handler,
    tend,
    async run(signal) {
      leaving = new AbortController();
      await Promise.all([stream.run(handler, signal), mergeUntil(signal)]);
    },
  };
}
