import pg from 'pg';
import { UsageError } from '../../errors.ts';

export interface PostgresTls {
  /** PEM texts. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Default true. */
  readonly rejectUnauthorized?: boolean | undefined;
  /** The name the server's certificate must carry; default the host of the URL. */
  readonly servername?: string | undefined;
}

export interface PostgresOptions {
  /** postgres://user:password@host:port/database */
  readonly url: string;
  /** Given: TLS is required. Left out: the URL's sslmode decides. */
  readonly tls?: PostgresTls | undefined;
  readonly applicationName?: string | undefined;
  /** Longest wait for another transaction's lock. */
  readonly lockTimeoutMs?: number | undefined;
  /** Longest run of one statement at the server. */
  readonly statementTimeoutMs?: number | undefined;
  /** How long a transaction may stand still between two statements before the server ends it. */
  readonly idleInTransactionMs?: number | undefined;
  readonly connectTimeoutMs?: number | undefined;
  readonly maxConnections?: number | undefined;
}

const DEFAULTS = {
  applicationName: 'deltaferry',
  lockTimeoutMs: 3_000,
  statementTimeoutMs: 60_000,
  idleInTransactionMs: 15_000,
  connectTimeoutMs: 10_000,
  maxConnections: 8,
};
/** Our own deadline comes after the server's, so that a server that is merely slow tells its reason. */
const ANSWER_GRACE_MS = 5_000;
const KEEPALIVE_IDLE_MS = 10_000;
/** Text forms that do not depend on the settings of server, role or URL. */
const EXACT_TEXTS = '-c TimeZone=UTC -c DateStyle=ISO,YMD -c bytea_output=hex -c extra_float_digits=1';

/**
 * A pool whose values are exact: everything that JavaScript would round or reformat stays text.
 * The caller ends it. A connection that breaks while idle is replaced in silence.
 */
export function openPool(options: PostgresOptions): pg.Pool {
  return poolOf(options, {});
}

/** Connections for COPY, which has no deadline: the driver's own would strike in the midst of a large one. */
export function openReaders(options: PostgresOptions, { max, settings = '' }: ReadersOptions): pg.Pool {
  return poolOf(options, { max, query_timeout: 0 }, settings);
}

export interface ReadersOptions {
  readonly max: number;
  /** Of each connection: `-c name=value …` */
  readonly settings?: string;
}

function poolOf(options: PostgresOptions, differently: pg.PoolConfig, settings = ''): pg.Pool {
  const config = connectionConfig(options);
  const pool = new pg.Pool({
    ...config,
    options: `${config.options} ${settings}`,
    max: options.maxConnections ?? DEFAULTS.maxConnections,
    idleTimeoutMillis: 30_000,
    ...differently,
  });
  // A broken connection fails the query in flight; its second word, an 'error' event, would end the process.
  pool.on('connect', (client) => client.on('error', ignore));
  pool.on('error', ignore);
  return pool;
}

/** Ends its connection at once: nothing else ends a COPY, or a connection to a server that hangs. */
export function sever(client: pg.ClientBase): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

/** How each connection of ours is made, also one outside of any pool (session-level locks). */
export function connectionConfig(options: PostgresOptions): pg.ClientConfig {
  const statementTimeout = options.statementTimeoutMs ?? DEFAULTS.statementTimeoutMs;
  const { url, settings } = withoutOurs(options);
  return {
    connectionString: url,
    ...(options.tls === undefined ? {} : { ssl: tlsOptions(options.tls) }),
    application_name: options.applicationName ?? DEFAULTS.applicationName,
    connectionTimeoutMillis: options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs,
    statement_timeout: statementTimeout,
    query_timeout: statementTimeout + ANSWER_GRACE_MS,
    lock_timeout: options.lockTimeoutMs ?? DEFAULTS.lockTimeoutMs,
    // A replica that hangs inside a transaction keeps its locks from whoever takes over.
    idle_in_transaction_session_timeout: options.idleInTransactionMs ?? DEFAULTS.idleInTransactionMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_IDLE_MS,
    options: [...settings, EXACT_TEXTS].join(' '),
    types: exactTypes,
  };
}

/** The role a pool logs in as, for messages. */
export function roleOf(pool: pg.Pool): string | undefined {
  const user = URL.parse(pool.options.connectionString ?? '')?.username;
  return user === undefined || user === '' ? pool.options.user : decodeURIComponent(user);
}

/** Types whose JavaScript value is exact; all others (timestamps, dates, numeric, int8, jsonb …) stay text. */
const PARSED_OIDS = new Set<number>([
  pg.types.builtins.BOOL,
  pg.types.builtins.INT2,
  pg.types.builtins.INT4,
  pg.types.builtins.OID,
  pg.types.builtins.FLOAT4,
  pg.types.builtins.FLOAT8,
  pg.types.builtins.BYTEA,
  // Arrays of bool, int4, int2 and text.
  1000,
  1007,
  1005,
  1009,
]);

const ignore = (): void => {};

const asText = (value: string | Buffer): unknown => (typeof value === 'string' ? value : value.toString());

const exactTypes: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    PARSED_OIDS.has(oid) ? pg.types.getTypeParser(oid, format) : asText) as typeof pg.types.getTypeParser,
};

function tlsOptions(tls: PostgresTls): NonNullable<Exclude<pg.ClientConfig['ssl'], boolean>> {
  return {
    rejectUnauthorized: tls.rejectUnauthorized ?? true,
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    ...(tls.servername === undefined ? {} : { servername: tls.servername }),
  };
}

/**
 * The driver lets everything in the URL win over the options beside it. Ours must win: explicit TLS options, timeouts,
 * and settings, before which the URL's own (`?options=-c search_path=…`) are put, for the last of two counts.
 */
function withoutOurs(options: PostgresOptions): {
  readonly url: string;
  readonly settings: readonly string[];
} {
  const url = URL.parse(options.url);
  // The URL itself is left out of the message: it holds the password.
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol))
    throw new UsageError({
      code: 'POSTGRES_URL_INVALID',
      message: 'The Postgres URL is not of the form postgres://user:password@host:port/database.',
      remedy: 'Correct postgres.url; characters such as @, : and / in the password are percent-encoded.',
    });
  const settings = url.searchParams.getAll('options');
  const isOurs = (name: string): boolean =>
    name === 'options' ||
    name.endsWith('_timeout') ||
    (options.tls !== undefined && /^(ssl|uselibpqcompat)/.test(name));
  const ours = Array.from(url.searchParams.keys()).filter(isOurs);
  for (const name of ours) url.searchParams.delete(name);
  return { url: ours.length === 0 ? options.url : url.href, settings };
}
