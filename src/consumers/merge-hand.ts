import type { Change } from '../change/change.ts';
import { FencedError, PoisonError } from '../errors.ts';
import { isolate } from '../flow/isolate.ts';
import type { HeldPart } from '../flow/merge-buffer.ts';
import { HeldByLoadError } from '../ports/history-sink.ts';
import type { Merged, MergePart, MergeSink } from '../ports/merge-sink.ts';
import type { StreamRecord } from '../ports/record-stream.ts';
import type { PartitionLetters } from './partition-letters.ts';

/** One record on its way to the sink. */
export type MergeItem =
  | { readonly kind: 'change'; readonly record: KeptRecord; readonly change: Change }
  /** It can never be a change: the offset passes it once its letter is acknowledged. */
  | { readonly kind: 'poison'; readonly record: KeptRecord; readonly error: PoisonError };

export type KeptRecord = Pick<StreamRecord, 'offset' | 'key' | 'value'>;

/** A partition that is ours, from one assignment to the next. */
export interface OwnPartition {
  readonly partition: number;
  readonly letters: PartitionLetters;
  /** Where a partition that the sink has lost the offset of would start. */
  readonly low: bigint;
  /** The offset that the sink has stored, as far as is known. */
  stored: bigint;
  /** Taken from us, or to be read anew: nothing of it is merged any more. */
  gone: boolean;
}

export interface MergedNow {
  readonly partitions: readonly number[];
  /** What went to the sink: the last change of each key. */
  readonly changes: readonly Change[];
  /** All changes that it covers, superseded ones included. */
  readonly covered: readonly Change[];
  /** Records passed over because the sink's own system made them. */
  readonly skipped: number;
  readonly tookMs: number;
  /** Null where the answer was lost, and the sink's offsets told that it had landed. */
  readonly merged: Merged | null;
}

export interface MergeHandOptions {
  readonly sink: MergeSink;
  readonly onMerged: (merged: MergedNow) => void;
  /** The sink stands elsewhere than we believed: these partitions have to be read anew. */
  readonly onLost: (partitions: readonly number[]) => void;
}

export interface HandPart extends HeldPart<MergeItem> {
  readonly own: OwnPartition;
}

interface Step {
  readonly own: OwnPartition;
  readonly next: bigint;
}

/** Null stands for a part without items: only its offset is to be stored. */
interface Cell {
  readonly part: HandPart;
  readonly item: MergeItem | null;
}

/**
 * What was taken from the buffer, until all of it is merged or lost. One merge if it can be; where the
 * sink refuses a value, the record that brought it is found by halves and set aside.
 */
export class MergeHand {
  readonly #options: MergeHandOptions;
  readonly #parts: readonly HandPart[];
  /** Found to be refused: not to be found again after a failure. */
  readonly #refused = new Map<KeptRecord, PoisonError>();
  /** A merge has failed: the sink has to be asked where it stands. */
  #unsure = false;
  /** The merge whose outcome is not known. */
  #inDoubt: { readonly steps: readonly Step[]; readonly landed: (merged: Merged | null) => void } | null =
    null;

  constructor(parts: readonly HandPart[], options: MergeHandOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Partitions that are still to be merged. */
  get partitions(): number[] {
    return this.#open().map(({ partition }) => partition);
  }

  /**
   * Merges what is left. Throws what the sink and the dead letters throw; what was merged before stays
   * merged, and the next call goes on from where the sink then is.
   */
  async merge(signal: AbortSignal): Promise<void> {
    if (this.#unsure) await this.#askSink(signal);
    const cells = this.#cells();
    if (cells.length === 0) return;
    await isolate({
      count: cells.length,
      isBad: (error) => error instanceof PoisonError,
      attempt: (from, to) => this.#step(cells, from, to, signal),
      setAside: async (index, error) => {
        const cell = cells[index];
        if (cell?.item?.kind !== 'change' || !(error instanceof PoisonError)) throw error;
        if (cell.part.own.gone) return;
        this.#refused.set(cell.item.record, error);
        cells[index] = this.#cell(cell.part, cell.item);
        await this.#step(cells, index, index + 1, signal);
      },
    });
  }

  #open(): HandPart[] {
    return this.#parts.filter(({ own, next }) => !own.gone && own.stored < next);
  }

  #cells(): Cell[] {
    return this.#open().flatMap((part): Cell[] => {
      const left = part.items.filter(({ record }) => record.offset >= part.own.stored);
      return left.length === 0 ? [{ part, item: null }] : left.map((item) => this.#cell(part, item));
    });
  }

  #cell(part: HandPart, item: MergeItem): Cell {
    const { record } = item;
    const error = this.#refused.get(record);
    return { part, item: error === undefined ? item : { kind: 'poison', record, error } };
  }

  /** Merges these cells as one, and moves past them. */
  async #step(cells: readonly Cell[], from: number, to: number, signal: AbortSignal): Promise<void> {
    const { sink, onMerged } = this.#options;
    const groups = Map.groupBy(cells.slice(from, to), ({ part }) => part);
    for (const [{ own }, group] of groups) {
      const poison = group.flatMap(({ item }) => (item?.kind === 'poison' ? [item] : []));
      if (poison.length > 0 && !own.gone)
        await own.letters.send(poison.map(({ record, error }) => own.letters.letter(record, error)));
    }
    const steps: Step[] = [];
    const parts: MergePart[] = [];
    const covered: Change[][] = [];
    let skipped = 0;
    let at = from;
    for (const [part, group] of groups) {
      const { own, partition } = part;
      at += group.length;
      if (own.gone) continue;
      const follower = cells[at];
      const last = follower?.part !== part || follower.item === null;
      const next = last ? part.next : follower.item.record.offset;
      const changes = group.flatMap(({ item }) => (item?.kind === 'change' ? [item.change] : []));
      covered.push(changes);
      if (last) skipped += part.passed;
      steps.push({ own, next });
      parts.push({ partition, expected: own.stored, next, changes: lastPerKey(changes) });
    }
    if (parts.length === 0) return;
    const began = performance.now();
    const landed = (merged: Merged | null): void => {
      for (const { own, next } of steps) {
        own.stored = next;
        own.letters.passed(next);
      }
      onMerged({
        partitions: parts.map(({ partition }) => partition),
        changes: parts.flatMap(({ changes }) => changes),
        covered: covered.flat(),
        skipped,
        tookMs: performance.now() - began,
        merged,
      });
    };
    this.#inDoubt = { steps, landed };
    let merged: Merged;
    try {
      merged = await sink.merge(parts, signal);
    } catch (error) {
      // These say for certain that nothing was merged.
      const held = error instanceof HeldByLoadError;
      if (held || error instanceof PoisonError || error instanceof FencedError) this.#inDoubt = null;
      this.#unsure = !held && !(error instanceof PoisonError);
      throw error;
    }
    this.#inDoubt = null;
    landed(merged);
  }

  /** What landed counts; where somebody else has moved the offset, what we hold is worth nothing. */
  async #askSink(signal: AbortSignal): Promise<void> {
    const open = this.#open();
    const lows = new Map(open.map(({ partition, own }) => [partition, own.low]));
    const offsets =
      open.length === 0
        ? new Map<number, bigint>()
        : await this.#options.sink.claim([...lows.keys()], (partition) => lows.get(partition) ?? 0n, signal);
    const doubt = this.#inDoubt;
    this.#inDoubt = null;
    this.#unsure = false;
    const still = open.filter(({ own }) => !own.gone);
    // A merge is whole: it has landed where every part of it has. Of one that is not ours any more nobody knows; and
    // another replica's of the very same offsets is taken for it: then both count it.
    const landed = ({ own, next }: Step): boolean => !own.gone && (offsets.get(own.partition) ?? 0n) >= next;
    if (doubt?.steps.every(landed) === true) doubt.landed(null);
    const lost = still.filter(({ partition, own }) => offsets.get(partition) !== own.stored);
    if (lost.length > 0) this.#options.onLost(lost.map(({ partition }) => partition));
  }
}

/** The last change of each key, in the order of their keys' first. */
function lastPerKey(changes: readonly Change[]): Change[] {
  return [...new Map(changes.map((change) => [change.key, change])).values()];
}
