import { to as copyTo } from 'pg-copy-streams';
import type { Micros, Value } from '../../change/change.ts';
import { postgresParserFor } from '../../change/postgres-text.ts';
import type { TableMapping } from '../../change/table.ts';
import { PoisonError } from '../../errors.ts';
import type { SnapshotPart, SnapshotRow } from '../../ports/load.ts';
import type { PostgresWhere } from './errors.ts';
import type { HistoryColumnNames } from './history-ddl.ts';
import { instantOf } from './instants.ts';
import { tablePiecesSql } from './table-pieces-sql.ts';
import { openReaders, roleOf, sever, type PostgresOptions } from './pool.ts';
import { inTransaction } from './transaction.ts';

export interface TablePiecesOptions {
  /** Of connections of its own. */
  readonly connection: PostgresOptions;
  /** `schema.table` */
  readonly table: string;
  readonly mapping: TableMapping;
  /** The columns of a history, of which the current versions are read; null where the table is plain. */
  readonly history: Pick<HistoryColumnNames, 'offDate'> | null;
  /** Most rows of a piece, as they are when it is made; default 50,000. */
  readonly rowsPerPiece?: number | undefined;
  /** Most text of what is read at a time, but for a row that is wider; default 8 MB. */
  readonly bytesPerPart?: number | undefined;
}

/**
 * The rows of a table that goes on being changed, in ranges of its key which together hold every key. A range is
 * read as it is at that moment: whatever is changed later has to come by another way (docs/SPEC.md, B9).
 */
export interface TablePieces {
  /** Now, and how many rows there are. */
  count(): Promise<{ readonly ts: Micros; readonly rows: number }>;
  pieces(): Promise<readonly string[]>;
  /** From a place in it on (null: its beginning), as many rows as may be held, in the order of their keys. */
  read(piece: string, at: string | null, signal: AbortSignal): Promise<SnapshotPart>;
  close(): Promise<void>;
}

const ROWS_PER_PIECE = 50_000;
/** The text of a piece, at a guess. */
const BYTES_PER_PIECE = 6 * 1024 * 1024;
/** What is read of one at a time is held whole: beyond that its statement is broken off, and another goes on. */
const BYTES_PER_PART = 8 * 1024 * 1024;
const LINE_END = 0x0a;

interface Range {
  /** The texts of a key's columns; null: open at that end. The lower end is not part of the range. */
  readonly after: readonly string[] | null;
  readonly upTo: readonly string[] | null;
}

export function createTablePieces(options: TablePiecesOptions): TablePieces {
  const { table, mapping } = options;
  const pool = openReaders(options.connection, { max: 2 });
  const sql = tablePiecesSql(options);
  const where = (doing: string): PostgresWhere => ({ doing, table, role: roleOf(pool) });
  const rowOf = rowReader(mapping);
  const keyTextOf = keyTexts(mapping);

  async function rowsPerPiece(): Promise<number> {
    const most = options.rowsPerPiece ?? ROWS_PER_PIECE;
    const { rows } = await pool.query<{ bytes: number | null }>(sql.width);
    return Math.max(100, Math.min(most, Math.floor(BYTES_PER_PIECE / Math.max(1, rows[0]?.bytes ?? 1))));
  }

  return {
    count: () =>
      inTransaction(pool, where('counting the rows'), async (client) => {
        const { rows } = await client.query<{ ts: string; n: string }>(sql.count);
        return { ts: instantOf(rows[0]?.ts ?? '0'), rows: Number(rows[0]?.n) };
      }),

    pieces: () =>
      inTransaction(pool, where('dividing the table'), async (client) => {
        const each = await rowsPerPiece();
        const { rows } = await client.query<{ key: string[] }>(sql.bounds, [each]);
        const ends = [...rows.map(({ key }) => key), null];
        return ends.map((upTo, index): string =>
          JSON.stringify({ after: ends[index - 1] ?? null, upTo } satisfies Range),
        );
      }),

    async read(piece, at, signal) {
      const { after, upTo } = JSON.parse(piece) as Range;
      const { text, isAll } = await copied({ after: at === null ? after : keyFrom(at), upTo }, signal);
      const lines = text.split('\n');
      // What is behind the last line's end.
      lines.pop();
      const all = lines.map((line) => line.split('\t'));
      const { cells, at: next } = isAll ? { cells: all, at: null } : cut(all, keyTextOf);
      return { rows: cells.map(rowOf), at: next };
    },

    close: () => pool.end(),
  };

  /** The lines of a range in the order of their keys, or its first ones. */
  async function copied(
    { after, upTo }: Range,
    signal: AbortSignal,
  ): Promise<{ readonly text: string; readonly isAll: boolean }> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let lines = 0;
    let isEnough = false;
    try {
      await inTransaction(pool, where('reading rows'), async (client) => {
        const stop = (): void => sever(client);
        signal.throwIfAborted();
        signal.addEventListener('abort', stop, { once: true });
        try {
          // COPY takes no parameters: the range comes as settings of the transaction.
          await client.query(SETTINGS, [JSON.stringify(after ?? []), JSON.stringify(upTo ?? [])]);
          const copy = client.query(
            copyTo(sql.copy({ after: after !== null, upTo: upTo !== null })),
          ) as AsyncIterable<Buffer>;
          for await (const chunk of copy) {
            chunks.push(chunk);
            bytes += chunk.length;
            lines += chunk.includes(LINE_END) ? 1 : 0;
            isEnough = bytes > (options.bytesPerPart ?? BYTES_PER_PART) && lines > 0;
            if (isEnough) stop();
            if (isEnough) break;
          }
        } finally {
          signal.removeEventListener('abort', stop);
        }
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!isEnough) throw error;
    }
    return { text: Buffer.concat(chunks).toString('utf8'), isAll: !isEnough };
  }
}

/**
 * Without the rows of the last key, of which more may follow, unless there are no others. The place is the key
 * before: rows may come, go and change until it is gone on with.
 */
function cut(
  all: readonly (readonly string[])[],
  keyOf: (cells: readonly string[]) => string,
): { readonly cells: readonly (readonly string[])[]; readonly at: string } {
  const last = keyOf(all.at(-1)!);
  const end = all.findIndex((cells) => keyOf(cells) === last);
  const cells = end === 0 ? all : all.slice(0, end);
  return { cells, at: keyOf(cells.at(-1)!) };
}

const keyFrom = (at: string): readonly string[] => JSON.parse(at) as readonly string[];

function keyTexts({ key, columns }: TableMapping): (cells: readonly string[]) => string {
  const indexes = key.map((name) => columns.findIndex((column) => column.name === name));
  return (cells) => JSON.stringify(indexes.map((index) => textOf(cells[index])));
}

/** Statistics of a table that was just filled know nothing yet, and a range is best read by the index of its key. */
const SETTINGS = `
  SELECT set_config('deltaferry.after', $1, true), set_config('deltaferry.up_to', $2, true),
         set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
         set_config('max_parallel_workers_per_gather', '0', true)`;

function rowReader(mapping: TableMapping): (cells: readonly string[]) => SnapshotRow {
  const parsers = mapping.columns.map(({ type, name }) => postgresParserFor(type, name));
  return (cells) => {
    try {
      const row: Value[] = [];
      for (let index = 0; index < parsers.length; index++) {
        const text = textOf(cells[index]);
        row.push(text === null ? null : parsers[index]!(text));
      }
      return { kind: 'row', row };
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error;
      const { code, message } = error;
      return { kind: 'invalid', code, message, payload: JSON.stringify(cells.map(textOf)) };
    }
  };
}

/** A cell of COPY's text format. */
function textOf(cell: string | undefined): string | null {
  if (cell === undefined || cell === '\\N') return null;
  return cell.includes('\\') ? unescaped(cell) : cell;
}

const ESCAPES: Readonly<Record<string, string>> = {
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

function unescaped(cell: string): string {
  return cell.replace(/\\(.)/gs, (_, character: string) => ESCAPES[character] ?? character);
}
