import type { Change } from '../change/change.ts';
import { BugError, FencedError, PoisonError } from '../errors.ts';
import { isolate } from '../flow/isolate.ts';
import type { DeadLetter, DeadLetters } from '../ports/dead-letters.ts';
import type { AppliedBatch, HistorySink } from '../ports/history-sink.ts';
import type { StreamBatch, StreamRecord } from '../ports/record-stream.ts';
import { PartitionLetters } from './partition-letters.ts';
import type { RecordReader } from './record-reader.ts';

export interface AppliedPart {
  readonly partition: number;
  readonly changes: readonly Change[];
  readonly lateKeys: number;
  /** Records passed over because the sink's own system made them. */
  readonly skipped: number;
  /** Duration of the applying transaction, milliseconds. */
  readonly tookMs: number;
}

export interface HistoryPartitionOptions {
  readonly topic: string;
  readonly partition: number;
  readonly sink: HistorySink;
  readonly deadLetters: DeadLetters;
  /** One applying transaction holds at most so many changes and bytes. */
  readonly maxChanges: number;
  readonly maxBytes: number;
  readonly now: () => number;
  readonly onApplied: (part: AppliedPart) => void;
  readonly onDeadLetter: (letter: DeadLetter) => void;
}

interface Item {
  readonly record: StreamRecord;
  readonly change: Change;
}

/**
 * What one partition has in the sink. Every step is one transaction that moves the stored offset; a
 * record that can never be applied is acknowledged by the dead-letter topic before the offset passes it.
 */
export class HistoryPartition {
  readonly #options: HistoryPartitionOptions;
  /** The offset that the sink has stored; null: to be asked. */
  #stored: bigint | null = null;
  /** The offset to read from: records between the two, if any, were nothing for the sink. */
  #read = 0n;
  readonly #letters: PartitionLetters;
  /** The step whose outcome is not known. */
  #inDoubt: { readonly next: bigint; readonly report: (applied: AppliedBatch | null) => void } | null = null;

  constructor(options: HistoryPartitionOptions) {
    this.#options = options;
    this.#letters = new PartitionLetters(options);
  }

  /** The offset to read from; null where the sink has to be asked first. */
  get position(): bigint | null {
    return this.#stored === null ? null : this.#read;
  }

  /** What the sink says it has stored. A step in doubt that it covers counts as applied. */
  claimed(offset: bigint): void {
    const doubt = this.#inDoubt;
    this.#inDoubt = null;
    if (doubt !== null && offset === doubt.next) doubt.report(null);
    this.#movedTo(offset);
  }

  /** After a failure: nothing is done before the sink was asked again. */
  forget(): void {
    this.#stored = null;
  }

  /** Applies what the batch holds from `position` on. Throws what the sink, the letters or the reader throw. */
  async apply(batch: StreamBatch, reader: RecordReader): Promise<void> {
    let items: Item[] = [];
    let letters: DeadLetter[] = [];
    let skipped = 0;
    let bytes = 0;
    let nothing = true;
    const { maxChanges, maxBytes } = this.#options;
    for (const record of batch.records) {
      if (record.offset < this.#read) continue;
      nothing = false;
      const answer = reader.read(record);
      const reading = answer instanceof Promise ? await answer : answer;
      switch (reading.kind) {
        case 'own':
          skipped += 1;
          continue;
        case 'poison':
          letters.push(this.#letters.letter(record, reading.error));
          continue;
        case 'change':
          break;
        default:
          reading satisfies never;
          continue;
      }
      const size = record.value?.length ?? 0;
      if (items.length >= maxChanges || (items.length > 0 && bytes + size > maxBytes)) {
        await this.#letters.send(letters);
        await this.#applyItems(items, record.offset, skipped);
        [items, letters, skipped, bytes] = [[], [], 0, 0];
      }
      items.push({ record, change: reading.change });
      bytes += size;
    }
    await this.#letters.send(letters);
    // Records that are no records (control, aborted) need no transaction, but for the last ones of a partition: where
    // nothing follows and retention drops them, the stored offset would be one that the topic no longer has.
    if (nothing && batch.next < batch.end) this.#read = batch.next > this.#read ? batch.next : this.#read;
    else if (!nothing || batch.next > this.#read) await this.#applyItems(items, batch.next, skipped);
  }

  /** All items as one step if it can be, else the bad ones among them are set aside one by one. */
  async #applyItems(items: readonly Item[], next: bigint, skipped: number): Promise<void> {
    const nextAfter = (to: number): bigint => items[to]?.record.offset ?? next;
    let passedOver = skipped;
    await isolate({
      count: items.length,
      isBad: (error) => error instanceof PoisonError,
      attempt: async (from, to) => {
        await this.#step(items.slice(from, to), nextAfter(to), passedOver);
        passedOver = 0;
      },
      setAside: async (index, error) => {
        const item = items[index];
        if (item === undefined || !(error instanceof PoisonError)) throw error;
        await this.#letters.send([this.#letters.letter(item.record, error)]);
        await this.#step([], nextAfter(index + 1), 0);
      },
    });
  }

  async #step(items: readonly Item[], next: bigint, skipped: number): Promise<void> {
    const { partition, sink, onApplied } = this.#options;
    const expected = this.#stored;
    if (expected === null)
      throw new BugError({
        code: 'OFFSET_UNKNOWN',
        message: `Partition ${partition} was applied without an offset.`,
      });
    const changes = items.map(({ change }) => change);
    const began = performance.now();
    const report = (applied: AppliedBatch | null): void =>
      onApplied({
        partition,
        changes,
        lateKeys: applied?.lateKeys ?? 0,
        skipped,
        tookMs: performance.now() - began,
      });
    this.#inDoubt = { next, report };
    let applied: AppliedBatch;
    try {
      applied = await sink.apply({ partition, expected, next, changes });
    } catch (error) {
      // These say for certain that nothing was applied.
      if (error instanceof PoisonError || error instanceof FencedError) this.#inDoubt = null;
      throw error;
    }
    this.#inDoubt = null;
    this.#movedTo(next);
    report(applied);
  }

  #movedTo(offset: bigint): void {
    this.#stored = offset;
    this.#read = offset;
    this.#letters.passed(offset);
  }
}
