import { sleep } from '../../flow/sleep.ts';
import type { BatchOutcome, StreamBatch } from '../../ports/record-stream.ts';
import { decodedBytes } from './fetch-room.ts';
import type { PartitionFetch } from './fetch.ts';

/**
 * One assigned partition between the fetching and the handling of its records: at most one batch is
 * with the handler and one waits behind it. Pure bookkeeping.
 */
export class PartitionFlow {
  readonly partition: number;
  /** Aborts when the partition is taken from us or the stream stops. */
  readonly lost: AbortSignal;
  readonly #abort = new AbortController();
  /** What to fetch next; null while nothing should be fetched. */
  #fetchFrom: bigint | null = null;
  #buffered: StreamBatch | null = null;
  #bufferedBytes = 0;
  #inHandBytes = 0;
  #outOfRange = false;
  #rereading = false;
  #wake: (() => void) | null = null;
  #resting: AbortController | null = null;
  /** Grows while fetches bring nothing though there is something to read. */
  #stretch = 1;
  #starved = false;
  /** Offset after the last batch that was done; null before the first. */
  done: bigint | null = null;

  constructor(partition: number, stopping: AbortSignal) {
    this.partition = partition;
    this.lost = AbortSignal.any([stopping, this.#abort.signal]);
    this.lost.addEventListener('abort', () => {
      this.#wakeUp();
      this.#resting?.abort();
    });
  }

  /** The offset that the next fetch should ask for; null: none now. */
  get wants(): bigint | null {
    return this.lost.aborted || this.#buffered !== null ? null : this.#fetchFrom;
  }

  /** What the records of the batches that are with the handler and behind it take. */
  get heldBytes(): number {
    return this.#inHandBytes + (this.#buffered === null ? 0 : this.#bufferedBytes);
  }

  /** How many times the usual bytes the next fetch may take. */
  get stretch(): number {
    return this.#stretch;
  }

  /**
   * The last fetch brought none of what there is: a broker gives a batch that is larger than the limits only
   * for the first partition of a fetch that has anything.
   */
  get starved(): boolean {
    return this.#starved;
  }

  /** The handler has lost its place since it was last asked: it has to be asked again. */
  get rereading(): boolean {
    return this.#rereading;
  }

  /** Forgets what was read ahead, and whatever becomes of the batch in hand, until the handler was asked. */
  reread(): void {
    this.readFrom(null);
    this.#rereading = true;
    this.#wakeUp();
    this.#resting?.abort();
  }

  /** From here on an answer of the handler counts, unless it loses its place again. */
  ask(): void {
    this.#rereading = false;
  }

  /** Forgets what was read ahead; null: nothing is fetched until the next call. */
  readFrom(offset: bigint | null): void {
    this.#fetchFrom = offset;
    this.#buffered = null;
    this.#outOfRange = false;
    this.#stretch = 1;
  }

  revoke(): void {
    this.#abort.abort();
  }

  /**
   * What a fetch brought; ignored where other offsets are wanted by now. `nothing`: it brought nothing
   * for any partition, so that none took the room of this one.
   */
  deliver(fetched: PartitionFetch, nothing: boolean): void {
    if (this.wants !== fetched.from) return;
    this.#fetchFrom = fetched.next;
    // Batches that compaction emptied are invisible here: a larger fetch reaches past them.
    this.#starved = fetched.next === fetched.from && fetched.from < fetched.stable;
    const stuck = nothing && fetched.from < fetched.stable;
    this.#stretch = stuck ? Math.min(this.#stretch * 2, 64) : 1;
    const { partition, from, next, end, records } = fetched;
    // Control and aborted records alone are nothing for the handler, but its offset should follow.
    if (next === from) return;
    this.#buffered = { partition, from, next, end, records };
    this.#bufferedBytes = decodedBytes(fetched);
    this.#wakeUp();
  }

  deliverOutOfRange(from: bigint): void {
    if (this.wants !== from) return;
    this.#fetchFrom = null;
    this.#outOfRange = true;
    this.#wakeUp();
  }

  /**
   * The next batch in order; `out-of-range` where the broker no longer has the offset, `reread` where the
   * handler has lost its place, null once the partition is lost.
   */
  async take(): Promise<StreamBatch | 'out-of-range' | 'reread' | null> {
    this.#inHandBytes = 0;
    for (;;) {
      if (this.lost.aborted) return null;
      if (this.#rereading) return 'reread';
      if (this.#outOfRange) return 'out-of-range';
      const batch = this.#buffered;
      this.#buffered = null;
      if (batch !== null) {
        this.#inHandBytes = this.#bufferedBytes;
        return batch;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Moves on as the handler said; answers how long to rest first, milliseconds. */
  settle(batch: StreamBatch, outcome: BatchOutcome): number {
    this.#inHandBytes = 0;
    // The handler has lost its place meanwhile: this is an answer of before.
    if (this.#rereading) return 0;
    switch (outcome.kind) {
      case 'done':
        this.done = outcome.next;
        if (outcome.next !== batch.next) this.readFrom(outcome.next);
        return 0;
      case 'seek':
        this.readFrom(outcome.offset);
        return 0;
      case 'pause':
        this.readFrom(null);
        return outcome.ms;
      default:
        return outcome satisfies never;
    }
  }

  /** Rests so many milliseconds, then reads from there; at once where the partition is lost or read anew. */
  async rest(ms: number, offset: bigint): Promise<void> {
    const resting = new AbortController();
    this.#resting = resting;
    if (this.lost.aborted || this.#rereading) return;
    await sleep(ms, resting.signal);
    this.#resting = null;
    if (!this.#rereading) this.readFrom(offset);
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}
