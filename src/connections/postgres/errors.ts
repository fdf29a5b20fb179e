import { BugError, DeltaferryError, OperatorError, PoisonError, TransientError } from '../../errors.ts';

/** What was being done, for the message and its remedy. */
export interface PostgresWhere {
  /** "applying changes", "reading the change log" … */
  readonly doing: string;
  /** Table as the user writes it. */
  readonly table?: string | undefined;
  /** Database role of the connection. */
  readonly role?: string | undefined;
  /** The columns whose values come from the changes; no change is to blame for any other column. */
  readonly columns?: readonly string[] | undefined;
}

/**
 * What a failure of the driver or the server means. Decided by SQLSTATE, never by the message's
 * language. Errors of our own pass unchanged. Messages hold no row values beyond what the server
 * quotes and never the password.
 */
export function translatePostgres(error: unknown, at: PostgresWhere | string): DeltaferryError {
  if (error instanceof DeltaferryError) return error;
  const where = typeof at === 'string' ? { doing: at } : at;
  const sqlState = sqlStateOf(error);
  if (sqlState !== null) return fromServer(error as ServerError, sqlState, where);
  return fromDriver(error, where);
}

/** True where the server answered with an error and the connection can go on after a ROLLBACK. */
export function connectionSurvives(error: unknown): boolean {
  const state = sqlStateOf(error);
  return (
    state !== null &&
    !(
      state.startsWith('08') ||
      state.startsWith('57P') ||
      state.startsWith('25P') ||
      state.startsWith('XX') ||
      // A cached statement no longer fits the table: only a new connection plans it anew.
      state === '0A000' ||
      (error as ServerError).severity === 'FATAL'
    )
  );
}

/** A value or a key that a constraint of a table refused, of an error translated here. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly cause: unknown;
  readonly schema: string;
  readonly table: string;
  readonly constraint: string | undefined;
}

/** Null where the server names no table, or one of our own, and where all is told already. */
export function refusalOf(error: unknown): Refusal | null {
  if (!(error instanceof DeltaferryError)) return null;
  const { code, message, cause } = error;
  const state = sqlStateOf(cause);
  if (state?.startsWith('23') !== true || isPartitionMissing(state, cause as ServerError)) return null;
  const { schema, table, constraint } = cause as ServerError;
  if (schema === undefined || table === undefined || schema === 'deltaferry') return null;
  return { code, message, cause, schema, table, constraint };
}

interface ServerError extends Error {
  readonly code: string;
  readonly severity?: string;
  readonly schema?: string;
  readonly table?: string;
  readonly column?: string;
  readonly constraint?: string;
  readonly where?: string;
}

function sqlStateOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const code = (error as { code?: unknown }).code;
  // System errors have codes too ("EPIPE" has five characters); only the server's errors have a severity.
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && 'severity' in error ? code : null;
}

type Meaning = 'transient' | 'poison' | 'operator';

/** By SQLSTATE first, by its class (two characters) else; everything not listed needs a person. */
const MEANINGS: Record<string, Meaning> = {
  // The value itself cannot be stored.
  '22': 'poison',
  '23502': 'poison',
  '23503': 'poison',
  '23514': 'poison',
  '44000': 'poison',
  // "index row size exceeds maximum": this key is too long for an index.
  '54000': 'poison',
  // "stack depth limit exceeded": this document is nested too deeply.
  '54001': 'poison',
  // Somebody else wrote the same key at the same moment.
  '23505': 'transient',
  '23P01': 'transient',
  '40': 'transient',
  '55P03': 'transient',
  '57014': 'transient',
  // The connection, or the server as a whole, for now.
  '08': 'transient',
  '57P01': 'transient',
  '57P02': 'transient',
  '57P03': 'transient',
  '57P05': 'transient',
  '25P03': 'transient',
  '25P04': 'transient',
  '53000': 'transient',
  '53200': 'transient',
  '53300': 'transient',
};

function fromServer(error: ServerError, state: string, where: PostgresWhere): DeltaferryError {
  const details = {
    code: `POSTGRES_${state}`,
    message: `Postgres failed while ${where.doing}${tablePhrase(error, where)}: ${error.message} (SQLSTATE ${state}${objectPhrase(error)}).`,
    cause: error,
  };
  if (state === '0A000' && /cached plan/.test(error.message)) return new TransientError(details);
  switch (meaningOf(state, error, where)) {
    case 'transient':
      return new TransientError(details);
    case 'poison':
      return new PoisonError(details);
    case 'operator':
      return new OperatorError({ ...details, remedy: remedyFor(state, error, where) });
  }
}

function meaningOf(state: string, error: ServerError, where: PostgresWhere): Meaning {
  if (state === '23502' && where.columns?.includes(error.column ?? '') === false) return 'operator';
  // "no partition of relation found for row": a check that a person has written has a name.
  if (isPartitionMissing(state, error)) return 'operator';
  // A trigger that calls itself is no fault of the value.
  if (state === '54001' && error.where?.includes('PL/pgSQL') === true) return 'operator';
  return MEANINGS[state] ?? MEANINGS[state.slice(0, 2)] ?? 'operator';
}

function isPartitionMissing(state: string, { table, constraint }: ServerError): boolean {
  return state === '23514' && table !== undefined && constraint === undefined;
}

function tablePhrase(error: ServerError, where: PostgresWhere): string {
  const table = where.table ?? error.table;
  return table === undefined ? '' : ` (table ${table})`;
}

function objectPhrase(error: ServerError): string {
  const parts = [
    error.column === undefined ? '' : `, column ${error.column}`,
    error.constraint === undefined ? '' : `, constraint ${error.constraint}`,
  ];
  return parts.join('');
}

/** Of the settings that our sessions make, the newest (Postgres 14). The message quotes its name in any language. */
const NEWEST_SETTING = 'idle_session_timeout';

function remedyFor(state: string, error: ServerError, where: PostgresWhere): string {
  const table = where.table ?? error.table ?? 'the table';
  const role = where.role === undefined ? 'the connecting role' : `role ${where.role}`;
  if (state === '42704' && error.message.includes(NEWEST_SETTING)) return 'Use Postgres 14 or later.';
  switch (state) {
    case '42501':
      return `Grant ${role} what the message names, on ${table} and on the schema deltaferry.`;
    case '42P01':
    case '3F000':
      return `Create what is missing (\`deltaferry setup\` creates ${table} and the control schema), or correct the table's name in the configuration.`;
    case '42703':
    case '42704':
    case '42804':
      return `Bring the columns of ${table} and the configured columns in line; \`deltaferry setup --dry-run\` names the differences.`;
    case '23502':
      return `Give column ${error.column} of ${table} a default, or drop its NOT NULL: no change brings a value for it.`;
    case '23514':
      return `Create the partition of ${error.table} that takes the row, or a DEFAULT one.`;
    case '3D000':
      return 'Create the database, or correct postgres.url.';
    case '28000':
    case '28P01':
      return `Let ${role} log in: check the user and the password of postgres.url, postgres.tls, and pg_hba.conf.`;
    case '53100':
      return 'Free disk space on the Postgres server; the disk of the database or of its log is full.';
    case '25006':
      return 'Point postgres.url at the primary: this server is read-only (a standby, or default_transaction_read_only).';
    case '0A000':
      return `Give ${role} a table it can COPY into: an ordinary or partitioned table, without row-level security for ${role}.`;
    case 'P0001':
    case '54001':
      return `A trigger or function on ${table} refused it: mend the trigger, or what it refuses.`;
    default:
      return `Mend what the message names, on ${table}, for ${role}; it is tried again by itself.`;
  }
}

const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
]);
/** The driver gives these no code. */
const CONNECTION_MESSAGES =
  /^(Connection terminated|Query read timeout|timeout e(xpired|xceeded)|Client was closed|Client has encountered a connection error|Cannot use a pool after calling end|.*disconnected before secure TLS)/;
const TLS_CODES = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO)/;

function fromDriver(error: unknown, where: PostgresWhere): DeltaferryError {
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as { code?: unknown } | null)?.code;
  const name = typeof code === 'string' ? code : '';
  const text = `${where.doing}${where.table === undefined ? '' : ` (table ${where.table})`}`;
  if (NETWORK_CODES.has(name) || CONNECTION_MESSAGES.test(message))
    return new TransientError({
      code: name === '' ? 'POSTGRES_CONNECTION' : `POSTGRES_${name}`,
      message: `Lost Postgres while ${text}: ${message || name}.`,
      cause: error,
    });
  if (TLS_CODES.test(name) || /does not support SSL|^SASL|password must be a string/i.test(message))
    return new OperatorError({
      code: 'POSTGRES_LOGIN',
      message: `Could not log in to Postgres for ${text}: ${message}.`,
      remedy:
        'Check postgres.tls (the certificates, the server name) and the user and password of postgres.url.',
      cause: error,
    });
  return new BugError({
    code: 'POSTGRES_UNEXPECTED',
    message: `Unexpected failure while ${text}: ${message}.`,
    cause: error,
  });
}
