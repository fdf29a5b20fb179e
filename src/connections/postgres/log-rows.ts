import type { Change, Micros, Op, Row, Value } from '../../change/change.ts';
import { exactInteger } from '../../change/integers.ts';
import { keyOf } from '../../change/key.ts';
import { postgresParserFor } from '../../change/postgres-text.ts';
import type { TableMapping } from '../../change/table.ts';
import type { Parser } from '../../change/types.ts';
import { PoisonError } from '../../errors.ts';
import type { RejectedChange } from '../../ports/change-log.ts';
import type { CopiedRow } from './copy-binary.ts';

/** What a net change of the log comes to. */
export type LogOutcome =
  | { readonly kind: 'change'; readonly change: Change; readonly position: bigint }
  | { readonly kind: 'rejected'; readonly rejection: RejectedChange; readonly position: bigint };

export interface LogRowsOptions {
  readonly mapping: TableMapping;
  /** Origin id of the changes. */
  readonly origin: string;
}

/** A net change as the log has it: images are JSON texts. */
export interface LoggedChange {
  readonly changeId: bigint;
  readonly xid: bigint;
  readonly ts: Micros;
  readonly key: string;
  readonly before: string | null;
  readonly after: string | null;
  /** Bytes that it took on its way here, roughly. */
  readonly size: number;
}

/** A reader of net changes. A value that cannot be mapped rejects its change, never more. */
export function logRowReader({ mapping, origin }: LogRowsOptions): (logged: LoggedChange) => LogOutcome {
  const readImage = imageReader(mapping);
  const keyFor = keyOf(mapping);

  return (logged) => {
    const { changeId, ts } = logged;
    const position = exactInteger(changeId);
    const before = logged.before === null ? null : readImage(logged.before);
    const after = logged.after === null ? null : readImage(logged.after);
    try {
      if (after?.error != null) throw after.error;
      const change: Change = {
        op: opOf(logged),
        key: keyFor((after ?? before)!.row),
        // An old image that does not fit was rejected when it was new: what ends it is published all the same.
        before: before === null || before.error !== null ? null : before.row,
        after: after === null ? null : after.row,
        origin,
        table: mapping.name,
        position,
        ts,
        tx: exactInteger(logged.xid),
        load: null,
      };
      return { kind: 'change', change, position: changeId };
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error;
      const cause = before?.error != null && after === null ? before.error : error;
      const rejection: RejectedChange = {
        key: logged.key,
        table: mapping.name,
        code: cause.code,
        message: `Postgres ${mapping.name}: ${cause.message}`,
        position,
        ts,
        payload: payloadOf(logged),
      };
      return { kind: 'rejected', rejection, position: changeId };
    }
  };
}

/** Postgres counts timestamps from 2000-01-01. */
const POSTGRES_EPOCH = 946_684_800_000_000;

/** A row of `windowSql`. */
export function copiedChange(row: CopiedRow): LoggedChange {
  const { bytes, bounds } = row;
  return {
    changeId: bytes.readBigInt64BE(bounds[0]),
    xid: bytes.readBigInt64BE(bounds[2]),
    ts: microsAt(bytes, bounds[4]!),
    key: textAt(row, 6) ?? '',
    before: textAt(row, 8),
    after: textAt(row, 10),
    size: row.size,
  };
}

interface Image {
  /** Null in the place of a value that does not fit its column. */
  readonly row: Row;
  /** The first such value. */
  readonly error: PoisonError | null;
}

type Texts = Readonly<Record<string, unknown>>;

/** A reader of one image: a JSON object of the columns' texts. A column that it does not have is null. */
function imageReader(mapping: TableMapping): (text: string) => Image {
  const columns = mapping.columns.map(({ name, type }) => ({ name, parse: postgresParserFor(type, name) }));

  function read(texts: Texts): Image {
    try {
      const row: Value[] = [];
      for (const { name, parse } of columns) row.push(valueOf(texts, name, parse));
      return { row, error: null };
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error;
      return { row: columns.map((column) => valueOrNull(texts, column)), error };
    }
  }

  return (text) => read(JSON.parse(text) as Texts);
}

function valueOf(texts: Texts, name: string, parse: Parser): Value {
  const text = texts[name];
  // An absent column may be called what every object has, such as constructor.
  return typeof text === 'string' ? parse(text) : null;
}

function valueOrNull(
  texts: Texts,
  { name, parse }: { readonly name: string; readonly parse: Parser },
): Value {
  try {
    return valueOf(texts, name, parse);
  } catch {
    return null;
  }
}

function opOf({ before, after }: LoggedChange): Op {
  if (before === null) return 'insert';
  return after === null ? 'delete' : 'update';
}

function microsAt(bytes: Buffer, at: number): Micros {
  const micros = Number(bytes.readBigInt64BE(at)) + POSTGRES_EPOCH;
  return Number.isSafeInteger(micros)
    ? micros
    : exactInteger(bytes.readBigInt64BE(at) + BigInt(POSTGRES_EPOCH));
}

function textAt({ bytes, bounds }: CopiedRow, bound: number): string | null {
  const start = bounds[bound]!;
  return start < 0 ? null : bytes.toString('utf8', start, bounds[bound + 1]);
}

/** As the log has it, for a person to read: the images are JSON already. */
function payloadOf({ xid, before, after }: LoggedChange): string {
  return `{"xid":"${xid}","before":${before ?? 'null'},"after":${after ?? 'null'}}`;
}
