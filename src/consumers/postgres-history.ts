import type { TableMapping } from '../change/table.ts';
import { reactionTo } from '../error-policy.ts';
import { backoff, type Backoff } from '../flow/backoff.ts';
import type { DeadLetter, DeadLetters } from '../ports/dead-letters.ts';
import { HeldByLoadError, type HistorySink } from '../ports/history-sink.ts';
import type { BatchOutcome, PartitionRange, StreamBatch, StreamHandler } from '../ports/record-stream.ts';
import type { SchemaSource } from '../ports/schema-source.ts';
import { HistoryPartition, type AppliedPart } from './history-partition.ts';
import { outOfRange, stateAfter, type PartitionState } from './partition-state.ts';
import { createRecordReaders } from './record-reader.ts';

export interface Applied extends AppliedPart {
  /** From the event time of each change to now, milliseconds. */
  readonly latenciesMs: Float64Array;
}

export interface PostgresHistoryOptions {
  readonly topic: string;
  readonly table: TableMapping;
  /** Id of the system that the sink writes: its own changes are passed over. */
  readonly origin: string;
  readonly sink: HistorySink;
  readonly deadLetters: DeadLetters;
  readonly schemas: SchemaSource;
  /** Changes per applying transaction; default 10,000. */
  readonly maxBatchChanges?: number;
  /** Bytes of records per applying transaction; default 8 MB. */
  readonly maxBatchBytes?: number;
  /** How far ahead an event time may be, milliseconds; default 5 minutes. */
  readonly skewMs?: number;
  /** When a stopped partition is tried again, milliseconds; default 30,000. */
  readonly stoppedRetryMs?: number;
  /** Longest wait between tries after a transient failure, milliseconds; default 10,000. */
  readonly maxRetryMs?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** Uniform in [0, 1), for jitter. */
  readonly random?: () => number;
  readonly onState?: (partition: number, state: PartitionState) => void;
  readonly onApplied?: (applied: Applied) => void;
  /** After each batch: offsets left until the partition's end. */
  readonly onLag?: (partition: number, records: number) => void;
  readonly onDeadLetter?: (letter: DeadLetter) => void;
}

const KEEP_ALIVE_MS = 2000;
/** How often a partition that waits for a load asks whether it may go on. */
const HELD_PAUSE_MS = 500;

interface Held {
  readonly partition: HistoryPartition;
  readonly waits: Backoff;
  /** Fences in a row: the first one seeks at once, more of them wait. */
  fences: number;
  /** Where a partition that the sink has lost the offset of would start. */
  low: bigint;
  state: PartitionState['kind'] | null;
}

/**
 * Feeds the changes topic into an SCD2 history, each change exactly once: the sink stores the offset
 * with the changes, and every doubt is settled by asking it. Knows no driver.
 */
export function createPostgresHistory(options: PostgresHistoryOptions): StreamHandler {
  const { topic, table, sink } = options;
  const now = options.now ?? Date.now;
  const random = options.random ?? Math.random;
  const stoppedRetryMs = options.stoppedRetryMs ?? 30_000;
  const held = new Map<number, Held>();
  const readers = createRecordReaders({
    topic,
    table,
    schemas: options.schemas,
    origin: options.origin,
    skewMs: options.skewMs ?? 5 * 60_000,
    now,
  });

  function hold(partition: number): Held {
    const found = held.get(partition);
    if (found !== undefined) return found;
    const fresh: Held = {
      partition: new HistoryPartition({
        topic,
        partition,
        sink,
        deadLetters: options.deadLetters,
        maxChanges: options.maxBatchChanges ?? 10_000,
        maxBytes: options.maxBatchBytes ?? 8 * 1024 * 1024,
        now,
        onApplied: applied,
        onDeadLetter: (letter) => options.onDeadLetter?.(letter),
      }),
      waits: backoff({ initialMs: 100, maxMs: options.maxRetryMs ?? 10_000, random }),
      fences: 0,
      low: 0n,
      state: null,
    };
    held.set(partition, fresh);
    return fresh;
  }

  function applied(part: AppliedPart): void {
    const at = now();
    const latenciesMs = Float64Array.from(part.changes, ({ ts }) => at - Number(ts) / 1000);
    options.onApplied?.({ ...part, latenciesMs });
  }

  async function assigned(ranges: ReadonlyMap<number, PartitionRange>): Promise<ReadonlyMap<number, bigint>> {
    const begun = new Map<number, Held>();
    for (const [partition, { low }] of ranges) {
      const holding = hold(partition);
      holding.low = low;
      begun.set(partition, holding);
    }
    let offsets: ReadonlyMap<number, bigint>;
    try {
      offsets = await sink.claim([...ranges.keys()], (partition) => ranges.get(partition)?.low ?? 0n);
    } catch (error) {
      for (const partition of ranges.keys()) report(partition, stateAfter(error));
      // Thrown: asked again soon. Left out: asked again later.
      if (reactionTo(error) === 'retry') throw error;
      return new Map();
    }
    const answer = new Map<number, bigint>();
    for (const [partition, range] of ranges) {
      const holding = begun.get(partition);
      // Taken from us meanwhile.
      if (holding === undefined || held.get(partition) !== holding) continue;
      const offset = offsets.get(partition) ?? range.low;
      const place = {
        topic,
        partition,
        offset,
        table: table.name,
        target: 'the history',
        loadFrom: 'delta',
      } as const;
      const problem = outOfRange(place, range);
      if (problem !== null) {
        report(partition, stateAfter(problem));
        continue;
      }
      holding.partition.claimed(offset);
      report(partition, { kind: 'running' });
      answer.set(partition, offset);
    }
    return answer;
  }

  async function claim({ low }: Held, partition: number): Promise<bigint> {
    return (await sink.claim([partition], () => low)).get(partition) ?? low;
  }

  async function batch(incoming: StreamBatch, keepAlive: () => Promise<void>): Promise<BatchOutcome> {
    const holding = hold(incoming.partition);
    const beat = setInterval(() => void keepAlive(), KEEP_ALIVE_MS);
    try {
      return await applyFrom(holding, incoming);
    } catch (error) {
      holding.partition.forget();
      return outcomeOf(holding, incoming.partition, error);
    } finally {
      clearInterval(beat);
    }
  }

  async function applyFrom(holding: Held, incoming: StreamBatch): Promise<BatchOutcome> {
    const { partition } = holding;
    if (partition.position === null) {
      partition.claimed(await claim(holding, incoming.partition));
    }
    const position = partition.position ?? incoming.from;
    // Ahead: applied already. Behind: records are missing in between.
    if (position < incoming.from || position > incoming.next) return { kind: 'seek', offset: position };
    await partition.apply(incoming, readers());
    holding.waits.reset();
    holding.fences = 0;
    report(incoming.partition, { kind: 'running' });
    options.onLag?.(incoming.partition, Number(incoming.end - incoming.next));
    return { kind: 'done', next: incoming.next };
  }

  async function outcomeOf(holding: Held, partition: number, error: unknown): Promise<BatchOutcome> {
    if (error instanceof HeldByLoadError) {
      report(partition, { kind: 'waiting for a load' });
      return { kind: 'pause', ms: HELD_PAUSE_MS };
    }
    const reaction = reactionTo(error);
    switch (reaction) {
      case 'drop':
        return afterFence(holding, partition, error);
      case 'retry':
        report(partition, { kind: 'retrying', error });
        return { kind: 'pause', ms: holding.waits.next() };
      case 'stop':
      case 'exit':
      // Only reached where no single record can be blamed.
      case 'dead-letter':
        report(partition, stateAfter(error));
        return { kind: 'pause', ms: stoppedRetryMs };
      default:
        return reaction satisfies never;
    }
  }

  /** Somebody else moved the offset: go on from there, though a rebalance will probably take it from us. */
  async function afterFence(holding: Held, partition: number, error: unknown): Promise<BatchOutcome> {
    holding.fences += 1;
    if (holding.fences > 1) {
      report(partition, { kind: 'retrying', error });
      return { kind: 'pause', ms: holding.waits.next() };
    }
    try {
      const offset = await claim(holding, partition);
      holding.partition.claimed(offset);
      return { kind: 'seek', offset };
    } catch (failure) {
      return outcomeOf(holding, partition, failure);
    }
  }

  function report(partition: number, state: PartitionState): void {
    const holding = held.get(partition);
    // A failure is told each time: it may be another one.
    if (holding === undefined || (!('error' in state) && holding.state === state.kind)) return;
    holding.state = state.kind;
    options.onState?.(partition, state);
  }

  return {
    assigned,
    revoked(partitions) {
      for (const partition of partitions) {
        report(partition, { kind: 'released' });
        held.delete(partition);
      }
    },
    batch,
  };
}
