import type { Micros } from '../change/change.ts';
import { OperatorError } from '../errors.ts';
import type { Stored } from './stop-note.ts';

/** What another database has to know of a load to begin from its records alone. All offsets are per partition. */
export interface LoadManifest {
  readonly load: string;
  readonly source: 'delta' | 'postgres';
  /** The id of the system whose rows they are, and of the Postgres beside which the load was made. */
  readonly origin: string;
  readonly postgresId: string;
  readonly tableId: string;
  readonly version: number;
  readonly ts: Micros;
  readonly rows: number;
  readonly parts: number;
  readonly rejected: number;
  /** Of the load's topic: its records are there. */
  readonly startOffsets: readonly bigint[];
  readonly endOffsets: readonly bigint[];
  /** Of the changes topic: everything that the load does not hold is there, or behind it. */
  readonly liveOffsets: readonly bigint[];
}

/** The newest load whose records are on the topic: all of them, or only some, which replace those of the one before. */
export type NewestOnTopic =
  | { readonly kind: 'none' }
  | { readonly kind: 'unfinished'; readonly load: string }
  | { readonly kind: 'complete'; readonly manifest: LoadManifest };

/** Whose the newest load on the topic is. */
export interface LoadOnTopic {
  readonly load: string;
  /** The target that began it; null where that is not known. */
  readonly postgresId: string | null;
  /** Its target has not read all of its records yet, and did not give it up. */
  readonly isNeeded: boolean;
}

interface Progress extends Pick<LoadManifest, 'parts' | 'rows' | 'rejected'> {
  readonly at: string | null;
}

/** The publisher's position of a load: the first one announces it, before any record. */
export function progressPosition(
  { load, postgresId }: Pick<LoadManifest, 'load' | 'postgresId'>,
  { parts, at, rows, rejected }: Progress,
): Stored {
  return { load, parts, at, rows, rejected, postgresId, needed: 1 };
}

/** The same position, once the target has read all records of the load, or has given it up. */
export function positionWhenOver(stored: Stored): Stored {
  return { ...stored, needed: 0 };
}

export function loadOnTopic(stored: Stored | null): LoadOnTopic | null {
  if (stored === null) return null;
  const { load, postgresId, needed } = stored;
  return {
    load: String(load),
    postgresId: typeof postgresId === 'string' ? postgresId : null,
    isNeeded: needed !== 0,
  };
}

/** The position once all records of a load are on the topic; it has all fields of those before it. */
export function manifestPosition(manifest: LoadManifest): Stored {
  const { source, origin, tableId, version } = manifest;
  return {
    ...progressPosition(manifest, { ...manifest, at: null }),
    source,
    origin,
    tableId,
    version,
    ts: String(manifest.ts),
    start: manifest.startOffsets.join(' '),
    end: manifest.endOffsets.join(' '),
    live: manifest.liveOffsets.join(' '),
  };
}

/** Throws an OperatorError where what was stored is not a position of a load's publisher. */
export function newestOnTopic(stored: Stored | null, table: string): NewestOnTopic {
  if (stored === null) return { kind: 'none' };
  const { load, live } = stored;
  if (typeof load !== 'string') throw unreadable(stored, table);
  if (live === undefined) return { kind: 'unfinished', load };
  const { source, origin, postgresId, tableId, version, ts, rows, parts, rejected, start, end } = stored;
  if (
    (source !== 'delta' && source !== 'postgres') ||
    typeof origin !== 'string' ||
    typeof postgresId !== 'string' ||
    typeof tableId !== 'string' ||
    typeof ts !== 'string' ||
    !/^-?\d+$/.test(ts) ||
    !isCount(version) ||
    !isCount(rows) ||
    !isCount(parts) ||
    !isCount(rejected) ||
    !isOffsets(start) ||
    !isOffsets(end) ||
    !isOffsets(live)
  )
    throw unreadable(stored, table);
  const micros = Number(ts);
  return {
    kind: 'complete',
    manifest: {
      load,
      source,
      origin,
      postgresId,
      tableId,
      version,
      ts: Number.isSafeInteger(micros) ? micros : BigInt(ts),
      rows,
      parts,
      rejected,
      startOffsets: offsetsOf(start),
      endOffsets: offsetsOf(end),
      liveOffsets: offsetsOf(live),
    },
  };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isOffsets(value: unknown): value is string {
  return typeof value === 'string' && /^\d+( \d+)*$/.test(value);
}

const offsetsOf = (text: string): readonly bigint[] => text.split(' ').map(BigInt);

function unreadable(stored: Stored, table: string): OperatorError {
  return new OperatorError({
    code: 'POSITION_UNREADABLE',
    message: `The stored position of the loads of ${table} is not one: ${JSON.stringify(stored)}.`,
    remedy: `Load the table anew where Delta can be read: \`deltaferry backfill ${table} --restart\`.`,
  });
}
