import type { Row } from '../change/change.ts';
import type { Load } from './load.ts';

/** Where the next file of a partition begins: behind so many (`skip`) of the load's rows from `next` on. */
export interface FilePlace {
  readonly next: bigint;
  readonly skip: number;
}

/** A file of a load's rows in the staging volume. */
export interface LoadFile {
  readonly partition: number;
  /** Its number in the partition, from 0. */
  readonly seq: number;
  /** Files of one slice go into the table by one statement. */
  readonly slice: number;
  readonly path: string;
  readonly rows: number;
  readonly place: FilePlace;
}

/** The files of one load, as the control schema knows them. A file that it does not know counts for nothing. */
export interface LoadFiles {
  /** Per partition of the topic where its next file begins, and its number. */
  claim(): Promise<ReadonlyMap<number, FilePlace & { readonly seq: number }>>;
  /** Throws a FencedError where the partition has a file of that number: another process loads it. */
  note(file: LoadFile): Promise<void>;
  /** Rows in them. */
  rows(): Promise<number>;
  /** All of them in the order of their slices; throws an OperatorError unless they hold every row that was published. */
  complete(): Promise<readonly (LoadFile & { readonly merged: boolean })[]>;
  merged(files: readonly LoadFile[]): Promise<void>;
  /** The target has every row: the load is `live`, and changes from Postgres go on, at one moment. */
  finish(): Promise<void>;
}

/** The staging volume, for the rows of one load. */
export interface LoadStaging {
  /** A row as a line of a file. */
  line(row: Row): string;
  /** A file of lines; answers its path, which no other has. */
  put(slice: number, partition: number, lines: Iterable<Uint8Array>): Promise<string>;
}

/** What brings staged rows into the Delta table. Repeating any of it changes nothing more. */
export interface DeltaLoad {
  /**
   * The rows of the files replace what the table has of their key, by one statement (none where the load fills an empty
   * table), and are added where it has nothing, by another. Keys that others have changed in Delta since the load's version are left alone.
   */
  merge(load: Load, files: readonly LoadFile[], signal: AbortSignal): Promise<DeltaLoaded>;
  /** Removes rows whose key is in none of the files, but for keys that others have changed since; answers how many. */
  removeAbsent(load: Load, files: readonly LoadFile[], signal: AbortSignal): Promise<number>;
}

export interface DeltaLoaded {
  readonly added: number;
  readonly corrected: number;
}
