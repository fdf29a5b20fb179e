import { randomUUID } from 'node:crypto';
import type { Micros } from '../../change/change.ts';
import type { TableMapping } from '../../change/table.ts';
import { BugError, OperatorError } from '../../errors.ts';
import type {
  PinnedVersion,
  SnapshotPart,
  SnapshotRest,
  SnapshotRow,
  SnapshotSource,
} from '../../ports/load.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import { textOf, type Databricks } from './client.ts';
import { loadFolder, removeLoadFiles } from './load-staging.ts';
import { bucketsSql, countSql, exportSql } from './snapshot-sql.ts';
import { snapshotReader } from './snapshot-lines.ts';
import { getLines, listFiles } from './staging.ts';

export interface SnapshotOptions {
  /** Shared with others. */
  readonly client: Databricks;
  /** `schema.table` or `catalog.schema.table`. */
  readonly table: string;
  readonly mapping: TableMapping;
  /** `/Volumes/…`: where the rows are exported to. Without it, and where the warehouse refuses, they come as results. */
  readonly volume: string | undefined;
  /** Most rows of a piece; default 50,000. */
  readonly rowsPerPiece?: number | undefined;
  /** Most text of a part, but for a row that is wider; default 8 MB. */
  readonly bytesPerPart?: number | undefined;
  /** The warehouse refused the export: the slower way is taken. */
  readonly onRefused?: (error: OperatorError) => void;
}

const ROWS_PER_PIECE = 50_000;
/** The text of a piece, at a guess: its rows are of any width, and only fetching it takes that much, of the disk. */
const BYTES_PER_PIECE = 16 * 1024 * 1024;
/** Text of a part, which is held whole, as objects too, beside two others that are being published. */
const BYTES_PER_PART = 8 * 1024 * 1024;
/** Text of a row against its size in the table's files, as a rule. */
const GROWTH = 8;
/** Rows so wide that these are too many grow less: almost all of them is text. */
const FEWEST_ROWS = 8;
const EXPORT_MS = 6 * 60 * 60_000;
/** Another answer to the same question: these have nothing to do with how the rows are fetched. */
const LASTING = new Set(['DELTA_VERSIONS_GONE', 'DELTA_TABLE_MISSING', 'DELTA_COLUMN_MISSING']);
const BUCKET = /^bucket (\d+) of (\d+)$/;

/** Copies of one table's versions, fetched as files of a volume, or else as results, one bucket of keys at a time. */
export function createSnapshotSource(options: SnapshotOptions): SnapshotSource {
  const { client, table, mapping, volume } = options;
  const quoted = quoteDatabricksQualified(table);
  const about = (doing: string) => ({ doing, table, mapping: mapping.name });
  const reader = snapshotReader(mapping);
  const bytesPerPart = options.bytesPerPart ?? BYTES_PER_PART;
  const snapshotOf = ({ version }: PinnedVersion) => ({ mapping, table, version });

  async function pin(): Promise<PinnedVersion> {
    const [detail] = await client.query({
      ...about('describing the table'),
      sql: `DESCRIBE DETAIL ${quoted}`,
    });
    const [newest] = await client.query({
      ...about('looking for the newest version'),
      sql: `DESCRIBE HISTORY ${quoted} LIMIT 1`,
    });
    const version = Number(newest?.['version']);
    const stamp = newest?.['timestamp'];
    if (!Number.isSafeInteger(version) || !(stamp instanceof Date))
      throw new BugError({ code: 'DELTA_HISTORY', message: `The history of ${table} names no version.` });
    const [count] = await client.query({
      ...about('counting the rows'),
      sql: countSql({ mapping, table, version }),
    });
    return {
      tableId: textOf(detail?.['id']),
      version,
      ts: (await feedTime(version)) ?? stamp.getTime() * 1000,
      rows: Number(count?.['rows']),
    };
  }

  /** The time that the change feed gives the changes of this version; null where it has none of it. */
  async function feedTime(version: number): Promise<Micros | null> {
    try {
      const [row] = await client.query({
        ...about('asking for the time of the version'),
        sql: 'SELECT unix_micros(_commit_timestamp) AS ts FROM table_changes(:table, :version, :version) LIMIT 1',
        params: { table: quoted, version },
      });
      return row === undefined ? null : Number(row['ts']);
    } catch (error) {
      if (error instanceof OperatorError) return null;
      throw error;
    }
  }

  async function rowsPerPiece({ rows }: PinnedVersion): Promise<number> {
    const most = options.rowsPerPiece ?? ROWS_PER_PIECE;
    if (rows === 0) return most;
    const [detail] = await client.query({
      ...about('describing the table'),
      sql: `DESCRIBE DETAIL ${quoted}`,
    });
    const bytes = (Number(detail?.['sizeInBytes'] ?? 0) / rows) * GROWTH;
    return Math.max(FEWEST_ROWS, Math.min(most, Math.floor(BYTES_PER_PIECE / Math.max(1, bytes))));
  }

  async function exported(
    within: string,
    pinned: PinnedVersion,
    lines: number,
    signal: AbortSignal,
  ): Promise<string[]> {
    // A folder of its own: the statement of a process that was killed may still be writing.
    const folder = `${within}/${randomUUID()}`;
    await client.query({
      ...about(`exporting version ${pinned.version}`),
      sql: exportSql(snapshotOf(pinned), folder, lines),
      timeoutMs: EXPORT_MS,
      signal,
    });
    const files = await listFiles(client, folder, about('listing the exported files'));
    return files
      .filter((file) => textOf(file['name']).startsWith('part-') && Number(file['size']) > 0)
      .map((file) => textOf(file['path']))
      .sort();
  }

  /** The place in a file is a byte. */
  async function* readFiles({ pieces, at }: SnapshotRest, signal: AbortSignal): AsyncGenerator<SnapshotPart> {
    let from = Number(at ?? 0);
    for (const path of pieces) {
      const statement = { ...about('fetching an exported file'), signal };
      for await (const { text, next } of getLines(client, path, { from, bytes: bytesPerPart }, statement))
        yield { rows: reader.file(text), at: next === null ? null : String(next) };
      from = 0;
    }
  }

  /** All of them by one statement: each would read the whole version again. The place in a bucket is a number of rows. */
  async function* readBuckets(
    [first, buckets]: readonly [number, number],
    at: string | null,
    pinned: PinnedVersion,
    signal: AbortSignal,
  ): AsyncGenerator<SnapshotPart> {
    const pages = client.stream({
      ...about(`reading version ${pinned.version}`),
      sql: bucketsSql(snapshotOf(pinned)),
      params: { first, buckets },
      timeoutMs: EXPORT_MS,
      signal,
    });
    const toSkip = Number(at ?? 0);
    let current = first;
    let seen = 0;
    let rows: SnapshotRow[] = [];
    let bytes = 0;
    function part(place: string | null): SnapshotPart {
      const some = rows;
      rows = [];
      bytes = 0;
      return { rows: some, at: place };
    }
    for await (const page of pages)
      for (const { bucket, row, length } of reader.numbered(page)) {
        for (; current < bucket; current++, seen = 0) yield part(null);
        seen += 1;
        if (current === first && seen <= toSkip) continue;
        if (bytes + length > bytesPerPart && rows.length > 0) yield part(String(seen - 1));
        rows.push(row);
        bytes += length;
      }
    for (; current < buckets; current++) yield part(null);
  }

  return {
    pin: () => pin().catch(tellOfLoad),

    async pieces(load, pinned, signal) {
      if (pinned.rows === 0) return [];
      const most = await rowsPerPiece(pinned);
      if (volume !== undefined)
        try {
          return await exported(loadFolder(volume, load), pinned, most, signal);
        } catch (error) {
          if (!(error instanceof OperatorError)) throw error;
          if (LASTING.has(error.code)) tellOfLoad(error);
          options.onRefused?.(error);
        }
      const buckets = Math.ceil(pinned.rows / most);
      return Array.from({ length: buckets }, (_, bucket) => `bucket ${bucket} of ${buckets}`);
    },

    async *read(rest, pinned, signal) {
      const bucket = BUCKET.exec(rest.pieces[0] ?? '');
      const reading =
        bucket === null
          ? readFiles(rest, signal)
          : readBuckets([Number(bucket[1]), Number(bucket[2])], rest.at, pinned, signal);
      try {
        yield* reading;
      } catch (error) {
        tellOfLoad(error);
      }
    },

    async tidy(load) {
      if (volume === undefined) return;
      await removeLoadFiles(client, loadFolder(volume, load));
    },
  };

  /** Throws it; what became of the version is told in the words of a load. */
  function tellOfLoad(error: unknown): never {
    if (!(error instanceof OperatorError) || error.code !== 'DELTA_VERSIONS_GONE') throw error;
    throw new OperatorError({
      code: 'LOAD_VERSION_GONE',
      message: `The version of ${table} that the load of ${mapping.name} copies is gone from Delta (vacuumed or cleaned from its log): ${error.message}`,
      remedy: `Begin anew with the newest version: \`deltaferry backfill ${mapping.name} --restart\`.`,
      cause: error,
    });
  }
}
