import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { LogWindow } from '../../ports/postgres-log.ts';
import { copiedRows } from './copy-binary.ts';
import { translatePostgres, type PostgresWhere } from './errors.ts';
import { copiedChange, type LoggedChange } from './log-rows.ts';
import {
  beginWindow,
  COPIED_FIELDS,
  READER_SETTINGS,
  SET_WINDOW,
  smallWindowSql,
  windowSql,
} from './log-sql.ts';
import { openReaders, sever, type PostgresOptions } from './pool.ts';

export interface LogWindows {
  /** Net changes in the order of their last change_id, some at a time, at the reader's pace. */
  read(window: LogWindow, signal: AbortSignal): AsyncGenerator<Iterable<LoggedChange>, void, undefined>;
  close(): Promise<void>;
}

/** Most bytes of a small window, as they are stored, which may be compressed. */
const SMALL_WINDOW_BYTES = 256 * 1024;
/** How much of a large window may wait in memory between the connection and the reader. */
const READ_AHEAD_BYTES = 256 * 1024;

interface SmallRow {
  readonly fits: boolean;
  readonly change_id: string | null;
  readonly xid: string;
  readonly micros: string;
  readonly key: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** Reads windows of one log (quoted) on a connection of its own, which is held as long as a window takes. */
export function createLogWindows(
  options: PostgresOptions & { readonly smallWindowRows: number },
  log: string,
  where: (doing: string) => PostgresWhere,
): LogWindows {
  const pool = openReaders(options, { max: 1, settings: READER_SETTINGS });
  const most = { rows: options.smallWindowRows, bytes: SMALL_WINDOW_BYTES };
  const small = { name: 'deltaferry small window', text: smallWindowSql(log, most) };
  const large = windowSql(log);

  /** Null where the window is too large for one answer. */
  async function readSmall(client: pg.PoolClient, window: LogWindow): Promise<LoggedChange[] | null> {
    const { rows } = await client.query<SmallRow>({ ...small, values: valuesOf(window) });
    if (rows[0]?.fits !== true) return null;
    return rows.flatMap((row) => (row.change_id === null ? [] : [loggedOf(row, row.change_id)]));
  }

  async function* readLarge(
    client: pg.PoolClient,
    window: LogWindow,
  ): AsyncGenerator<Iterable<LoggedChange>> {
    const rows = copiedRows(COPIED_FIELDS.length, copiedChange);
    await client.query(beginWindow(log));
    await client.query(SET_WINDOW, valuesOf(window));
    const copy = client.query(copyTo(large, { highWaterMark: READ_AHEAD_BYTES })) as AsyncIterable<Buffer>;
    for await (const chunk of copy) yield rows(chunk);
    await client.query('COMMIT');
  }

  return {
    async *read(window, signal) {
      const at = where(`reading the log from ${window.from} to ${window.to}`);
      signal.throwIfAborted();
      const client = await pool.connect().catch((error: unknown) => {
        throw translatePostgres(error, at);
      });
      let done = false;
      const abandon = (): void => sever(client);
      signal.addEventListener('abort', abandon, { once: true });
      try {
        signal.throwIfAborted();
        const few = await readSmall(client, window);
        if (few === null) yield* readLarge(client, window);
        done = true;
        if (few !== null && few.length > 0) yield few;
      } catch (error) {
        signal.throwIfAborted();
        throw translatePostgres(error, at);
      } finally {
        signal.removeEventListener('abort', abandon);
        // Whoever leaves early leaves a statement behind that only the end of its connection ends.
        if (!done) abandon();
        client.release(!done);
      }
    },
    close: () => pool.end(),
  };
}

function valuesOf({ from, to, after }: LogWindow): string[] {
  return [from, to, String(after)];
}

function loggedOf({ xid, micros, key, before, after }: SmallRow, changeId: string): LoggedChange {
  const ts = Number(micros);
  return {
    changeId: BigInt(changeId),
    xid: BigInt(xid),
    ts: Number.isSafeInteger(ts) ? ts : BigInt(micros),
    key,
    before,
    after,
    size: key.length + (before?.length ?? 0) + (after?.length ?? 0),
  };
}
