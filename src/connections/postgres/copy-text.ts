import type { Writable } from 'node:stream';
import type { PoolClient } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { Row, Value } from '../../change/change.ts';
import type { Column } from '../../change/table.ts';
import { formatterFor } from '../../change/types.ts';

/** One write per row is four times slower than chunks of this size. */
const CHUNK_CHARACTERS = 256 * 1024;

export const COPY_NULL = '\\N';

/**
 * A row's cells in COPY's text format, tab-separated, without the line's end. Throws a PoisonError
 * for a value that is not of its column's type.
 */
export function copyCells(columns: readonly Column[]): (row: Row) => string {
  const cells = columns.map(copyCell);
  return (row) => {
    let line = '';
    for (let index = 0; index < cells.length; index++) {
      if (index > 0) line += '\t';
      line += cells[index]!(row[index] ?? null);
    }
    return line;
  };
}

/** Runs `COPY … FROM STDIN` over texts of whole lines (each with its line's end) and returns the rows written; no text, no statement. */
export async function copyLines(client: PoolClient, sql: string, lines: Iterable<string>): Promise<number> {
  const chunks = chunksOf(lines);
  let next = chunks.next();
  if (next.done === true) return 0;
  const stream = client.query(copyFrom(sql));
  let failed = false;
  const finished = new Promise<void>((resolve, reject) => {
    stream.once('finish', resolve);
    // Not once: a connection that is given up fails its statement a second time, for which nobody would listen.
    stream.on('error', (error) => {
      failed = true;
      reject(error);
    });
  });
  // Awaited below in every case; until then a failure must not count as unhandled.
  finished.catch(() => {});
  for (; next.done !== true && !failed; next = chunks.next())
    if (!stream.write(next.value)) await Promise.race([drained(stream), finished]);
  if (!failed) stream.end();
  await finished;
  return stream.rowCount;
}

function* chunksOf(lines: Iterable<string>): Generator<string, void> {
  let chunk = '';
  for (const line of lines) {
    chunk += line;
    if (chunk.length >= CHUNK_CHARACTERS) {
      yield chunk;
      chunk = '';
    }
  }
  if (chunk !== '') yield chunk;
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => stream.once('drain', resolve));
}

function copyCell(column: Column): (value: Value) => string {
  const format = formatterFor(column.type, column.name);
  switch (column.type.name) {
    case 'text':
    case 'varchar':
    case 'jsonb':
    case 'enum':
    case 'bytea':
      return (value) => (value === null ? COPY_NULL : escaped(format(value)));
    // The other types' texts have no character that COPY reads as its own.
    default:
      return (value) => (value === null ? COPY_NULL : format(value));
  }
}

const SPECIAL = /[\\\t\n\r]/;
const ESCAPES: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

function escaped(text: string): string {
  return SPECIAL.test(text)
    ? text.replace(/[\\\t\n\r]/g, (character) => ESCAPES[character] ?? character)
    : text;
}
