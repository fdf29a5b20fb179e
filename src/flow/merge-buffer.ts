import { BugError } from '../errors.ts';

/** What is held of one partition, in partition order. */
export interface HeldPart<T> {
  readonly partition: number;
  /** Where the sink is to be once it is merged. It begins where the part taken before it ended. */
  readonly next: bigint;
  readonly items: readonly T[];
  /** Records in between that are nothing for the sink. */
  readonly passed: number;
}

export interface MergeBufferOptions {
  /** Most records and bytes over all partitions; one record alone may be larger. */
  readonly records: number;
  readonly bytes: number;
  /** A merge begins once something is so old and no more is to come than is held, milliseconds. */
  readonly minAgeMs: number;
  /** A merge begins once something is so old, milliseconds. */
  readonly maxAgeMs: number;
}

interface Track<T> {
  /** The offset to accept from. */
  position: bigint;
  items: T[];
  passed: number;
  /** The position is worth storing though nothing is held. */
  toStore: boolean;
}

/**
 * What has been read and not yet merged, of all partitions of a table. Every item stays, superseded ones
 * too: where a value turns out to be refused, the one before it is what holds.
 */
export class MergeBuffer<T> {
  readonly #options: MergeBufferOptions;
  readonly #tracks = new Map<number, Track<T>>();
  #records = 0;
  #bytes = 0;
  #refused = false;
  /** When the oldest of what is held came. */
  #since: number | null = null;
  readonly #sizes = new Map<number, number>();

  constructor(options: MergeBufferOptions) {
    this.#options = options;
  }

  /** Records held. */
  get records(): number {
    return this.#records;
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Nothing is held, not even an offset to store. */
  get isEmpty(): boolean {
    return this.#since === null;
  }

  /** Nothing is held of the partition from here on but what is added; what was held of it is dropped. */
  start(partition: number, offset: bigint): void {
    this.drop([partition]);
    this.#tracks.set(partition, { position: offset, items: [], passed: 0, toStore: false });
  }

  /** The offset to accept from; null where the partition was not started. */
  position(partition: number): bigint | null {
    return this.#tracks.get(partition)?.position ?? null;
  }

  /** Whether anything of the partition is held, be it only an offset to store. */
  holds(partition: number): boolean {
    const track = this.#tracks.get(partition);
    return track !== undefined && (track.items.length > 0 || track.toStore);
  }

  /** False, and nothing is added, where there is no room: a merge has to take what is held first. */
  add(partition: number, item: T, bytes: number, next: bigint, now: number): boolean {
    const { records, bytes: mostBytes } = this.#options;
    if (this.#records > 0 && (this.#records >= records || this.#bytes + bytes > mostBytes)) {
      this.#refused = true;
      return false;
    }
    const track = this.#move(partition, next);
    track.items.push(item);
    this.#records += 1;
    this.#bytes += bytes;
    this.#sizes.set(partition, (this.#sizes.get(partition) ?? 0) + bytes);
    this.#since ??= now;
    return true;
  }

  /**
   * Moves past records that are nothing for the sink. Past none (control records alone) is not worth storing, but
   * at the end of a partition: retention may drop them, and the stored position would be one that is gone.
   */
  pass(partition: number, records: number, next: bigint, now: number, atEnd = false): void {
    const moves = next !== this.position(partition);
    const track = this.#move(partition, next);
    track.passed += records;
    if (records === 0 && !(atEnd && moves)) return;
    track.toStore = true;
    this.#since ??= now;
  }

  /** Everything held, to be merged in this order; the buffer begins anew behind it. */
  take(): HeldPart<T>[] {
    const parts: HeldPart<T>[] = [];
    for (const [partition, track] of this.#tracks) {
      const { position: next, items, passed } = track;
      if (items.length === 0 && !track.toStore) continue;
      parts.push({ partition, next, items, passed });
      track.items = [];
      track.passed = 0;
      track.toStore = false;
    }
    this.#clear();
    return parts;
  }

  /** Forgets what is held of these partitions, and where they stand. */
  drop(partitions: readonly number[]): void {
    for (const partition of partitions) {
      this.#records -= this.#tracks.get(partition)?.items.length ?? 0;
      this.#bytes -= this.#sizes.get(partition) ?? 0;
      this.#tracks.delete(partition);
      this.#sizes.delete(partition);
    }
    // What was refused may fit now.
    this.#refused = false;
    for (const { items, toStore } of this.#tracks.values()) if (items.length > 0 || toStore) return;
    this.#clear();
  }

  /**
   * Milliseconds until a merge should begin; 0: now, Infinity: nothing is held. `toCome`: records that
   * are known to lie on the topic still. While more of them are to come than are held, a larger merge is
   * the quicker one; offsets alone are in no hurry.
   */
  dueIn(now: number, toCome: number): number {
    if (this.#since === null) return Infinity;
    const { records, bytes, minAgeMs, maxAgeMs } = this.#options;
    if (this.#refused || this.#records >= records || this.#bytes >= bytes) return 0;
    const hurry = this.#records > 0 && toCome <= this.#records;
    return Math.max(0, this.#since + (hurry ? Math.min(minAgeMs, maxAgeMs) : maxAgeMs) - now);
  }

  #move(partition: number, next: bigint): Track<T> {
    const track = this.#tracks.get(partition);
    if (track === undefined || next < track.position)
      throw new BugError({
        code: 'OFFSET_UNKNOWN',
        message: `Partition ${partition} was read up to ${next} without a place to go on from.`,
      });
    track.position = next;
    return track;
  }

  #clear(): void {
    this.#records = 0;
    this.#bytes = 0;
    this.#refused = false;
    this.#since = null;
    this.#sizes.clear();
  }
}
