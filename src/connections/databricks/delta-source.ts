import type { TableMapping } from '../../change/table.ts';
import { BugError } from '../../errors.ts';
import type { DeltaChangeRow, DeltaCommit, DeltaSource, DeltaTable } from '../../ports/delta-source.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import { columnAddedLater } from './absent-columns.ts';
import { changeLineReader } from './change-lines.ts';
import { changesSql } from './changes-sql.ts';
import type { Databricks, DatabricksRow } from './client.ts';
import { commitMark } from './commit-mark.ts';
import type { DatabricksWhere } from './errors.ts';

export interface DeltaSourceOptions {
  /** Shared with others; `close` leaves it open. */
  readonly client: Databricks;
  /** The Delta table: `schema.table` or `catalog.schema.table`. */
  readonly table: string;
  readonly mapping: TableMapping;
}

/** Characters of lines, of half a million narrow rows: from here on a parallel sort may be worth its start. */
const LITTLE = 32 * 1024 * 1024;
/** Characters of lines that are read at a time: the values of a page of wide rows need not all be in memory. */
const PART_CHARACTERS = 4 * 1024 * 1024;

/** The change data feed of one table behind a SQL warehouse. */
export function createDeltaSource({ client, table, mapping }: DeltaSourceOptions): DeltaSource {
  const quoted = quoteDatabricksQualified(table);
  const where = (doing: string): DatabricksWhere => ({ doing, table, mapping: mapping.name });
  const readLines = changeLineReader(mapping);
  let little = false;

  async function* read(
    from: number,
    to: number,
    absent: ReadonlySet<string>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly DeltaChangeRow[]> {
    let characters = 0;
    const lines = client.stream({
      ...where(`reading the changes of versions ${from} to ${to}`),
      sql: changesSql({ mapping, absent, oneTask: little }),
      params: { table: quoted, from, to },
      signal,
    });
    for await (const page of lines) {
      for (const part of partsOf(page)) {
        characters += part.characters;
        yield readLines(part.lines);
      }
    }
    little = characters <= LITTLE;
  }

  return {
    async describe() {
      const rows = await client.query({ ...where('describing the table'), sql: `DESCRIBE DETAIL ${quoted}` });
      return tableOf(rows[0]);
    },

    async commits(limit) {
      const sql = `DESCRIBE HISTORY ${quoted} LIMIT ${Math.max(1, Math.trunc(limit))}`;
      const rows = await client.query({ ...where('reading the history'), sql });
      return rows.map(commitOf);
    },

    async *changes(from, to, signal) {
      const absent = new Set<string>();
      for (;;) {
        try {
          return yield* read(from, to, absent, signal);
        } catch (error) {
          // Thrown before the first row: the statement did not even begin.
          const column = await columnAddedLater(client, table, error, to);
          if (column === null || absent.has(column)) throw error;
          absent.add(column);
        }
      }
    },

    async close() {},
  };
}

interface Part {
  readonly lines: readonly string[];
  readonly characters: number;
}

function* partsOf(lines: readonly string[]): Generator<Part> {
  let begin = 0;
  let characters = 0;
  for (let at = 0; at < lines.length; at++) {
    characters += lines[at]!.length;
    if (characters < PART_CHARACTERS) continue;
    yield { lines: lines.slice(begin, at + 1), characters };
    begin = at + 1;
    characters = 0;
  }
  if (begin < lines.length) yield { lines: begin === 0 ? lines : lines.slice(begin), characters };
}

function tableOf(row: DatabricksRow | undefined): DeltaTable {
  const id = row?.['id'];
  if (typeof id !== 'string')
    throw new BugError({
      code: 'DELTA_DETAIL',
      message: 'DESCRIBE DETAIL did not give the id of the table.',
    });
  const properties = mapOf(row?.['properties']);
  const stamp = ['lastModified', 'numFiles', 'sizeInBytes', 'properties'].map((name) => row?.[name]);
  return {
    id,
    changeDataFeed: properties['delta.enableChangeDataFeed'] === 'true',
    stamp: JSON.stringify(stamp, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
  };
}

function commitOf(row: DatabricksRow): DeltaCommit {
  const { timestamp } = row;
  return {
    version: Number(row['version']),
    operation: String(row['operation']),
    stamp: timestamp instanceof Date ? timestamp.toISOString() : String(timestamp),
    mark: commitMark(row),
  };
}

/** The driver gives a map as an object; an older warehouse as JSON text. */
function mapOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'string') return JSON.parse(value) as Record<string, unknown>;
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
