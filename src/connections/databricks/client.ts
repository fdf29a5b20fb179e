import { readFile } from 'node:fs/promises';
import { DBSQLClient, DBSQLParameter, DBSQLParameterType } from '@databricks/sql';
import { OperatorError, TransientError } from '../../errors.ts';
import { answered } from './deadline.ts';
import { isSessionLost, translateDatabricks, type DatabricksWhere } from './errors.ts';

export interface DatabricksOptions {
  readonly host: string;
  readonly port?: number | undefined;
  /** HTTP path of the SQL warehouse or cluster. */
  readonly path: string;
  readonly token?: string | undefined;
  readonly oauth?: { readonly clientId: string; readonly clientSecret: string } | undefined;
  /** PEM file of an authority to trust beside the built-in ones. */
  readonly caFile?: string | undefined;
  /** Longest wait for one HTTP answer; default 60,000. A running statement answers in between. */
  readonly requestTimeoutMs?: number | undefined;
  /** Longest time of a small query, and between two chunks of a large one; default 120,000. */
  readonly queryTimeoutMs?: number | undefined;
  /** Longest time until the first chunk of a large one; default 1,800,000. */
  readonly statementTimeoutMs?: number | undefined;
}

export type SqlParameter = string | number | bigint | boolean | null;

export interface Statement extends DatabricksWhere {
  readonly sql: string;
  /** Named parameters (`:name`); whole numbers are BIGINT. */
  readonly params?: Readonly<Record<string, SqlParameter>>;
  /** Cancels the statement. */
  readonly signal?: AbortSignal | undefined;
  /** Longest time until the answer, in place of the client's own. */
  readonly timeoutMs?: number | undefined;
  /** Of a statement that moves a file (`PUT`, `REMOVE`): the only local folder that it may touch. */
  readonly localFolder?: string | undefined;
}

/** BIGINT as bigint, DECIMAL as exact text, TIMESTAMP as Date (milliseconds: select micros instead). */
export type DatabricksRow = Readonly<Record<string, unknown>>;

/** A value that should be text; empty where it is not. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export interface Databricks {
  /** All rows of a small result. */
  query(statement: Statement): Promise<readonly DatabricksRow[]>;
  /** The texts of the column `line`, chunk by chunk, at the pace of the reader. Leaving early cancels. */
  stream(statement: Statement): AsyncIterable<readonly string[]>;
  close(): Promise<void>;
}

/** The part of the driver that is used. */
interface DriverOperation {
  fetchChunk(options: { maxRows: number; disableBuffering?: boolean }): Promise<object[]>;
  hasMoreRows(): Promise<boolean>;
  cancel(): Promise<unknown>;
  close(): Promise<unknown>;
}
interface DriverSession {
  executeStatement(sql: string, options: object): Promise<DriverOperation>;
  close(): Promise<unknown>;
}
/** A statement that was accepted, and the session that it runs on. */
interface Started {
  readonly operation: DriverOperation;
  readonly on: Promise<Session>;
}
interface Session {
  readonly driver: DriverSession;
  readonly client: DBSQLClient;
}

const CHUNK_ROWS = 20_000;
const CLOSE_MS = 2_000;
/** Each is a file of up to 20 MB held in memory; the driver's own default is 10. */
const PARALLEL_DOWNLOADS = 3;
// The driver logs statements and tokens' hosts; what matters reaches us as errors.
const QUIET = { log(): void {} };

/**
 * A client of one SQL warehouse, on one session that is reopened when it is lost. The driver (2.1.0)
 * never repeats a call that runs a statement, and its other retries are off: whoever calls decides.
 * A statement whose answer was lost may have run all the same.
 * Failures are TransientError, OperatorError or SchemaChangedError (errors.ts).
 */
export function openDatabricks(options: DatabricksOptions): Databricks {
  const queryMs = options.queryTimeoutMs ?? 120_000;
  const statementMs = options.statementTimeoutMs ?? 1_800_000;
  let current: Promise<Session> | undefined;
  let closed = false;

  /** A session that takes too long to open must not use up the time of a statement, which may be long. */
  function session(): Promise<Session> {
    if (current !== undefined) return current;
    const opening = openSession(options);
    const opened = answered(opening, { ms: queryMs, doing: 'opening a session' });
    current = opened;
    opened.catch(() => {
      forget(opened);
      opening.then(closeSession, () => {});
    });
    return opened;
  }

  function forget(opened: Promise<Session>): void {
    if (current !== opened) return;
    current = undefined;
    opened.then(closeSession, () => {});
  }

  /** Starts a statement; where the server has forgotten the session nothing has run, so once more on a new one. */
  async function start(statement: Statement, ms: number): Promise<Started> {
    for (let attempt = 1; ; attempt++) {
      const opened = session();
      const started = execute(opened, statement);
      try {
        const operation = await answered(started, { ms, doing: statement.doing, signal: statement.signal });
        return { operation, on: opened };
      } catch (error) {
        started.then(abandon, () => {});
        const lost = isSessionLost(error);
        // A refused statement leaves the session as good as before, a server that hangs may not.
        if (lost || error instanceof TransientError) forget(opened);
        if (!lost || attempt > 1) throw error;
      }
    }
  }

  async function* chunks(statement: Statement, firstMs: number): AsyncGenerator<object[]> {
    if (closed)
      throw new OperatorError({ code: 'DATABRICKS_CLOSED', message: 'The Databricks client is closed.' });
    let started: Started | undefined;
    let finished = false;
    const { doing, signal } = statement;
    try {
      started = await start(statement, firstMs);
      const { operation } = started;
      let ms = firstMs;
      do {
        yield await answered(operation.fetchChunk({ maxRows: CHUNK_ROWS, disableBuffering: true }), {
          ms,
          doing,
          signal,
        });
        ms = queryMs;
      } while (await answered(operation.hasMoreRows(), { ms, doing, signal }));
      finished = true;
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      // Its own: others may have a new one by now, on which their statements run.
      if (isSessionLost(error) && started !== undefined) forget(started.on);
      throw translateDatabricks(error, statement);
    } finally {
      if (started !== undefined)
        void (finished ? started.operation.close().catch(() => {}) : abandon(started.operation));
    }
  }

  return {
    async query(statement) {
      const rows: object[][] = [];
      for await (const chunk of chunks(statement, statement.timeoutMs ?? queryMs)) rows.push(chunk);
      return rows.flat() as DatabricksRow[];
    },
    async *stream(statement) {
      for await (const chunk of chunks(statement, statement.timeoutMs ?? statementMs))
        if (chunk.length > 0) yield chunk.map((row) => (row as { readonly line: string }).line);
    },
    async close() {
      closed = true;
      const last = current;
      current = undefined;
      // A session that is still being opened is closed when it comes, however late; nobody waits for it.
      if (last !== undefined) await closedInTime(last.then(closeSession, () => {}));
    },
  };
}

async function execute(
  opened: Promise<Session>,
  { sql, params = {}, localFolder }: Statement,
): Promise<DriverOperation> {
  const { driver } = await opened;
  const named = Object.entries(params).map(([name, value]) => [name, parameter(value)]);
  return driver.executeStatement(sql, {
    maxRows: CHUNK_ROWS,
    namedParameters: Object.fromEntries(named),
    ...(localFolder === undefined ? {} : { stagingAllowedLocalPath: localFolder }),
  });
}

function parameter(value: SqlParameter): DBSQLParameter {
  if (typeof value === 'bigint' || Number.isInteger(value))
    return new DBSQLParameter({ type: DBSQLParameterType.BIGINT, value });
  return new DBSQLParameter({ value });
}

async function openSession(options: DatabricksOptions): Promise<Session> {
  const client = new DBSQLClient({ logger: QUIET });
  // Without a listener a broken connection would end the process; the call in flight fails anyway.
  client.on('error', () => {});
  const customCaCert = options.caFile === undefined ? undefined : await readCa(options.caFile);
  await client.connect({
    host: options.host,
    path: options.path,
    ...(options.port === undefined ? {} : { port: options.port }),
    ...login(options),
    ...(customCaCert === undefined ? {} : { customCaCert }),
    userAgentEntry: 'deltaferry',
    socketTimeout: options.requestTimeoutMs ?? 60_000,
    retryMaxAttempts: 1,
    telemetryEnabled: false,
    preserveBigNumericPrecision: true,
  });
  client.getConfig().cloudFetchConcurrentDownloads = PARALLEL_DOWNLOADS;
  const session: Session = { driver: await client.openSession(), client };
  try {
    // TIMESTAMP_NTZ is turned into micros by way of TIMESTAMP, which reads the session's zone.
    const zone = await session.driver.executeStatement("SET TIME ZONE 'UTC'", {});
    await zone.fetchChunk({ maxRows: 1 });
    await zone.close();
  } catch (error) {
    void closeSession(session);
    throw error;
  }
  return session;
}

type Login =
  | { readonly token: string }
  | {
      readonly authType: 'databricks-oauth';
      readonly oauthClientId: string;
      readonly oauthClientSecret: string;
    };

function login({ token, oauth }: DatabricksOptions): Login {
  if (token !== undefined) return { token };
  if (oauth !== undefined)
    return {
      authType: 'databricks-oauth',
      oauthClientId: oauth.clientId,
      oauthClientSecret: oauth.clientSecret,
    };
  throw new OperatorError({
    code: 'DATABRICKS_LOGIN',
    message: 'No way to log in to Databricks is configured.',
    remedy: 'Set databricks.token or databricks.oauth.',
  });
}

async function readCa(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new OperatorError({
      code: 'DATABRICKS_TLS',
      message: `The certificate file ${file} (databricks.caFile) cannot be read.`,
      remedy: 'Correct databricks.caFile.',
      cause: error,
    });
  }
}

async function abandon(operation: DriverOperation): Promise<void> {
  await operation.cancel().catch(() => {});
}

function closeSession({ driver, client }: Session): Promise<void> {
  return closedInTime(driver.close().then(() => client.close()));
}

async function closedInTime(closing: Promise<void>): Promise<void> {
  await answered(closing, { ms: CLOSE_MS, doing: 'closing the session' }).catch(() => {});
}
