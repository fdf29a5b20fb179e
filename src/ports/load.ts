import type { Micros, Row } from '../change/change.ts';
import type { Position } from './change-log.ts';
import type { Snapshot } from './postgres-log.ts';
import type { StreamRecord } from './record-stream.ts';

/** The version of a Delta table that a load copies. */
export interface PinnedVersion {
  readonly tableId: string;
  readonly version: number;
  /** When it was committed. */
  readonly ts: Micros;
  readonly rows: number;
}

/** A row that was read, or why it can never be one of the table, with what it held. */
export type SnapshotRow =
  | { readonly kind: 'row'; readonly row: Row }
  | { readonly kind: 'invalid'; readonly code: string; readonly message: string; readonly payload: string };

/** Rows that were read together, few enough to be held. */
export interface SnapshotPart {
  readonly rows: readonly SnapshotRow[];
  /** Where their piece goes on; null: they are its last. */
  readonly at: string | null;
}

/** The pieces that are still to be read. */
export interface SnapshotRest {
  readonly pieces: readonly string[];
  /** Where in the first of them; null: at its beginning. */
  readonly at: string | null;
}

/** The rows of one version of a table, in pieces whose content never changes. */
export interface SnapshotSource {
  pin(): Promise<PinnedVersion>;
  /** The pieces of the version, made if need be; each is a short text. Throws an OperatorError where the version is gone. */
  pieces(load: string, pinned: PinnedVersion, signal: AbortSignal): Promise<readonly string[]>;
  /**
   * All rows of each of these pieces, in this order, a piece in one part or several; `pieces` are the last ones of the
   * version. Behind the same place a piece has the same rows each time.
   */
  read(rest: SnapshotRest, pinned: PinnedVersion, signal: AbortSignal): AsyncIterable<SnapshotPart>;
  /** Removes what was made for the load. */
  tidy(load: string): Promise<void>;
}

/** What the control schema knows of a load. */
export interface Load {
  readonly id: string;
  readonly name: string;
  /** The table that it fills. */
  readonly target: string;
  readonly topic: string;
  /** Where the rows come from; the target is on the other side. `topic`: from Delta, by way of another database's load. */
  readonly source: 'delta' | 'postgres' | 'topic';
  /** The load whose records these are; another one's where the rows come from the topic alone. */
  readonly recordsOf: string;
  /** `fill`: the target was empty; `reconcile`: it holds rows, and live consumers go on meanwhile. */
  readonly way: 'fill' | 'reconcile';
  /** Whether people's changes of the target are captured. */
  readonly captured: boolean;
  /**
   * What of them is in Delta as it is loaded; the keys of all others are left alone. Of a load from Postgres: what its
   * rows have, so that a poller that had to stop goes on from there. Null until it is chosen.
   */
  readonly logPosition: Snapshot | null;
  /** src/flow/load-state.ts says what each means. */
  readonly phase: 'snapshot' | 'handover' | 'live' | 'failed';
  readonly pinned: PinnedVersion | null;
  readonly startOffsets: readonly bigint[] | null;
  readonly endOffsets: readonly bigint[] | null;
  /** Everything that came after the version is there, per partition of the changes topic, or behind it. */
  readonly liveOffsets: readonly bigint[] | null;
  readonly publishedRows: number;
  readonly rejectedRows: number;
  readonly appliedRows: number;
  /** ISO text. */
  readonly startedAt: string;
  /** What it stopped with; null while somebody goes on with it. */
  readonly error: string | null;
  readonly seen: LoadSeen;
}

/** What the process that carries a load out does at the moment. */
export type LoadStage =
  | 'merging'
  | 'pinning'
  | 'exporting'
  | 'loading'
  | 'catching up'
  | 'handing over'
  | 'done';

/** How far it is within that, for people. */
export interface LoadNote {
  readonly stage: LoadStage;
  /** How long handing over should take, by how fast the rows were loaded before it; null: not known. */
  readonly handoverSeconds: number | null;
  readonly read: number;
  /** Rows that were compared with those of the table, where it held any. */
  readonly compared: number;
  /** Key ranges that wait for transactions of people's that are open. */
  readonly heldUp: number;
}

/** What was noted last, with times by the database's clock; nothing depends on it. */
export interface LoadSeen extends Omit<LoadNote, 'stage'> {
  /** Null where nothing was noted yet. */
  readonly stage: LoadStage | null;
  /** Since the stage began. */
  readonly stageSeconds: number | null;
  /** ISO text; null: it has not ended. */
  readonly finishedAt: string | null;
  /** From its beginning to its end. */
  readonly tookSeconds: number | null;
}

/** Its version is chosen: of that are its rows. */
export type PinnedLoad = Load & { readonly pinned: PinnedVersion };

/** What is published so far; moved in the transaction that publishes. */
export interface PublishedSoFar {
  /** Whole pieces. */
  readonly parts: number;
  /** Where in the piece behind them; null: nothing of that one. */
  readonly at: string | null;
  readonly rows: number;
  readonly rejected: number;
}

/** The loads of one table, as the control schema keeps them. */
export interface Loads {
  newest(): Promise<Load | null>;
  /**
   * Begins a load. Of an empty target: from its commit on the live consumers wait, and everything that they
   * applied before is visible.
   */
  begin(load: NewLoad): Promise<Load>;
  /** `liveOffsets`: everything that came after the version is there, per partition of the changes topic, or behind it. */
  pinned(id: string, version: PinnedVersion, liveOffsets: readonly bigint[]): Promise<void>;
  /** The pieces of the load in order, empty until they are noted. */
  pieces(id: string): Promise<readonly string[]>;
  notePieces(id: string, pieces: readonly string[]): Promise<void>;
  acknowledge(id: string, published: PublishedSoFar): Promise<void>;
  noteApplied(id: string, rows: number): Promise<void>;
  /** Everything is on the topic, up to these offsets. */
  published(id: string, endOffsets: readonly bigint[]): Promise<void>;
  /** The next offset of each partition of the changes topic that the live consumers have applied up to. */
  consumers(): Promise<ReadonlyMap<number, bigint>>;
  /** Null: work goes on. */
  noteError(id: string, text: string | null): Promise<void>;
  /** For people to look at. */
  note(id: string, note: LoadNote): Promise<void>;
  /** Gives it up: consumers go on, but where they stopped before what the topic has dropped; what was loaded aside is dropped. */
  giveUp(id: string): Promise<void>;
}

export interface NewLoad {
  readonly id: string;
  /** Where the load's records begin, per partition. */
  readonly startOffsets: readonly bigint[];
  /** Where a live consumer that has no offset yet starts, per partition of the changes topic. */
  readonly changesLow: readonly bigint[];
  /** Everything is published already, by a load of another database; throws an OperatorError where the target holds rows. */
  readonly copy?: LoadCopy;
}

/** What a load of another database has left on the topic. */
export interface LoadCopy {
  readonly recordsOf: string;
  readonly pinned: PinnedVersion;
  readonly rows: number;
  readonly rejected: number;
  readonly startOffsets: readonly bigint[];
  readonly endOffsets: readonly bigint[];
  /** Where live changes go on. */
  readonly liveOffsets: readonly bigint[];
}

/** Records of one partition of the load's topic. */
export interface LoadBatch {
  readonly partition: number;
  readonly expected: bigint;
  readonly next: bigint;
  readonly rows: readonly Row[];
}

/** The table beside the target that a load fills first, and how far it has come, moved together. */
export interface LoadTable {
  /** Next offset of each partition; begins anew where a crash of the server has emptied the table. */
  claim(): Promise<ReadonlyMap<number, bigint>>;
  /** Throws a FencedError where the partition is not at `expected`: another process loads it. */
  append(batch: LoadBatch): Promise<void>;
  /** Rows in the table. */
  rows(): Promise<number>;
  /** Everything has been appended: what is still held becomes durable. */
  finish?(): Promise<void>;
}

/** What moves a load that is complete beside its target into it, and makes it `live`. Doing it again is harmless. */
export interface LoadHandover {
  /**
   * In one transaction: the target, still empty, gets every row, and consumers go on. Throws an OperatorError
   * where the target holds rows or a key came twice.
   */
  fill(load: Load): Promise<void>;
  /**
   * Key range by key range: afterwards the target says of the time of the load what the load says, and of
   * all other times what it said. Consumers must have applied every change up to the load's version. Of a captured
   * table: but for keys that people have changed since the load's log position.
   */
  reconcile(load: Load, onDone: OnCompared, signal: AbortSignal): Promise<Reconciled>;
}

/** `heldUp`: key ranges that wait for transactions of people's that are open. */
export type OnCompared = (rows: number, heldUp: number) => void;

export interface Reconciled {
  /** Keys that the table had nothing of. */
  readonly added: number;
  /** Keys whose row was another one, or none, at the time of the load. */
  readonly corrected: number;
  /** Keys that the load does not have. */
  readonly ended: number;
}

/** The way from a captured target to Delta, which a load waits for before it chooses its version. */
export interface CapturedWay {
  /** The database's snapshot when it was first asked for this load. From then on the log keeps what it does not see. */
  logPosition(load: string): Promise<Snapshot>;
  /** How many rows of the log are within the position and not published yet, up to a limit; and the limit. */
  unpublished(position: Snapshot): Promise<{ readonly rows: number; readonly atLeast: boolean }>;
  /** The next offset of each partition of the changes topic that is merged into Delta. */
  merged(): Promise<ReadonlyMap<number, bigint>>;
}

/** The way to Delta of what people change in other Postgreses, for a load of a target that is not captured. */
export interface OthersWay {
  /** The next offset of each partition of the changes topic that is merged into Delta; null where nobody captures the table. */
  merged(): Promise<ReadonlyMap<number, bigint> | null>;
  /**
   * The key of a change at one of these offsets of the changes topic or behind it that was made neither by Delta nor
   * by the target, at `ts` or before; null where there is none.
   */
  earlier(
    of: { readonly ts: Micros; readonly liveOffsets: readonly bigint[] },
    signal: AbortSignal,
  ): Promise<string | null>;
}

/** The topics that a load has to do with. */
export interface LoadTopics {
  /** Makes sure that the load's topic exists and has as many partitions as the changes topic. */
  prepare(): Promise<void>;
  /** Where the load's topic begins, per partition. */
  lows(): Promise<readonly bigint[]>;
  /** Where it ends now. */
  ends(): Promise<readonly bigint[]>;
  /** Where the changes topic begins, per partition. */
  changesLow(): Promise<readonly bigint[]>;
  /** Where it ends now. */
  changesEnds(): Promise<readonly bigint[]>;
  /** Whether a change lies between: what ends a transaction takes an offset, too. */
  changesBetween(
    from: ReadonlyMap<number, bigint>,
    ends: readonly bigint[],
    signal: AbortSignal,
  ): Promise<boolean>;
  /** The version up to which the Delta feed has published the table of this id; null where it has nothing of it. */
  feedVersion(tableId: string): Promise<number | null>;
  /** The newest position of whoever publishes loads of the table, of any target: for one who only looks. */
  newestLoad(): Promise<Position | null>;
}

/** What one fetch gave of a partition. */
export interface LoadRecordsPart {
  readonly partition: number;
  readonly from: bigint;
  readonly next: bigint;
  readonly records: readonly StreamRecord[];
}

export interface LoadReading {
  /** The partitions to read, and where each begins. */
  readonly from: ReadonlyMap<number, bigint>;
  /** Where the partition ends; null as long as nobody knows. */
  readonly end: (partition: number) => bigint | null;
  /** Called with the parts of a partition one after the other; its failure ends the reading. */
  readonly handle: (part: LoadRecordsPart) => Promise<void>;
}

/** The records of a load's topic, outside of any consumer group. */
export interface LoadRecords {
  /** Until every partition has been handled to its end. Throws the signal's reason when it aborts. */
  read(reading: LoadReading, signal: AbortSignal): Promise<void>;
}

/** Loads the records of a load's topic into its table, as long as there may come more. */
export interface Loader {
  run(load: Load, onApplied: (rows: number) => void, signal: AbortSignal): Promise<void>;
}
