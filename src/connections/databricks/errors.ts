import {
  BugError,
  DeltaferryError,
  OperatorError,
  PoisonError,
  TransientError,
  type ErrorDetails,
} from '../../errors.ts';
import { SchemaChangedError } from '../../ports/delta-source.ts';

/** What was being done, to name it in the error. */
export interface DatabricksWhere {
  /** A phrase that follows "while", such as "reading changes". */
  readonly doing: string;
  /** The Delta table, as configured. */
  readonly table?: string;
  /** The name of the mapping, for the commands that remedies name. */
  readonly mapping?: string;
  /** When rows are written: the columns whose values come from changes. No change is to blame for any other. */
  readonly columns?: readonly string[];
  /** When files are moved: the folder in a volume. */
  readonly volume?: string;
}

type Build = (details: ErrorDetails, text: string, where: DatabricksWhere) => DeltaferryError;

interface Rule {
  readonly matches: RegExp;
  readonly code: string;
  readonly build: Build;
  readonly remedy?: (where: DatabricksWhere) => string;
}

const transient: Build = (details) => new TransientError(details);
const operator: Build = (details) => new OperatorError(details);

/** A row that is written is to blame for what its own columns hold, and for nothing that is read. */
const refusedRow: Build = (details, text, { columns }) => {
  const named = /NOT NULL constraint violated for column: `?([^\s`]+?)`?[.]?$/m.exec(text)?.[1];
  const isOurs =
    columns !== undefined &&
    (named === undefined || columns.some((column) => column.toLowerCase() === named.toLowerCase()));
  if (isOurs) {
    const { remedy: _, ...rest } = details;
    return new PoisonError(rest);
  }
  return new OperatorError(details);
};

const tableOf = (where: DatabricksWhere): string => where.table ?? 'the table';
const loadAnew = (where: DatabricksWhere): string =>
  `load the table anew: \`deltaferry backfill ${where.mapping ?? where.table ?? '<table>'}\`.`;
const backfill = (where: DatabricksWhere): string => `L${loadAnew(where).slice(1)}`;

/** By the error class that Spark and Delta write in brackets; the first that matches counts. */
const STATEMENT_RULES: readonly Rule[] = [
  {
    matches: /^DELTA_CHANGE_DATA_FEED_INCOMPATIBLE_(SCHEMA_CHANGE|DATA_SCHEMA)/,
    code: 'DELTA_SCHEMA_CHANGED',
    build: (details, text) => new SchemaChangedError({ ...details, version: namedVersion(text) }),
    remedy: backfill,
  },
  {
    matches:
      /^(TABLE_OR_VIEW_NOT_FOUND|SCHEMA_NOT_FOUND|NO_SUCH_CATALOG|DELTA_(MISSING_DELTA_TABLE|TABLE_NOT_FOUND|PATH_DOES_NOT_EXIST))/,
    code: 'DELTA_TABLE_MISSING',
    build: operator,
    remedy: (where) =>
      `Create ${tableOf(where)} (\`deltaferry setup\` checks it) or correct its name in the configuration.`,
  },
  {
    matches: /^(INSUFFICIENT_PERMISSIONS|PERMISSION_DENIED|UNAUTHORIZED|INSUFFICIENT_PRIVILEGES)/,
    code: 'DATABRICKS_DENIED',
    build: operator,
    remedy: (where) =>
      where.volume === undefined
        ? `Grant the service's principal SELECT (and MODIFY where it is merged into) on ${tableOf(where)}, USE SCHEMA and USE CATALOG.`
        : `Grant the service's principal READ VOLUME and WRITE VOLUME on the volume of ${where.volume}, USE SCHEMA and USE CATALOG.`,
  },
  {
    matches: /^(UC_)?VOLUME_(NOT_FOUND|DOES_NOT_EXIST)|^INVALID_VOLUME_PATH|^UC_VOLUMES?_/,
    code: 'DATABRICKS_VOLUME_MISSING',
    build: operator,
    remedy: (where) =>
      `Create the volume of ${where.volume ?? 'databricks.stagingVolume'}, or correct databricks.stagingVolume.`,
  },
  {
    matches: /^DELTA_CHANGE_TABLE_FEED_DISABLED/,
    code: 'DELTA_FEED_DISABLED',
    build: operator,
    remedy: (where) =>
      `ALTER TABLE ${tableOf(where)} SET TBLPROPERTIES (delta.enableChangeDataFeed = true), then ${loadAnew(where)}`,
  },
  {
    // Never recorded, vacuumed, or cleaned from the log.
    matches:
      /^(DELTA_(MISSING_CHANGE_DATA|CHANGE_DATA_FILE_NOT_FOUND|MISSING_TRANSACTION_LOG|TRUNCATED_TRANSACTION_LOG|LOG_FILE_NOT_FOUND|VERSIONS_NOT_CONTIGUOUS|VERSION_NOT_FOUND|STATE_RECOVER_ERROR|FILE_NOT_FOUND)|FAILED_READ_FILE\.\w*FILE_NOT_EXIST|PATH_NOT_FOUND)/,
    code: 'DELTA_VERSIONS_GONE',
    build: operator,
    remedy: backfill,
  },
  {
    matches: /^(UNRESOLVED_COLUMN|DELTA_MERGE_UNRESOLVED_EXPRESSION)/,
    code: 'DELTA_COLUMN_MISSING',
    build: operator,
    remedy: (where) =>
      `Correct the columns of ${where.mapping ?? 'the table'} in the configuration to what ${tableOf(where)} has, run \`deltaferry setup\`, then ${loadAnew(where)}`,
  },
  {
    // The values of the row are in the lines after the first, which never enters the message.
    matches:
      /^(DELTA_(NOT_NULL_CONSTRAINT_VIOLATED|VIOLATE_(CONSTRAINT_WITH_VALUES|TABLE_PROPERTY_VALIDATION_FAILED)|CAST_OVERFLOW_IN_TABLE_WRITE|EXCEED_CHAR_VARCHAR_LIMIT)|EXCEED_LIMIT_LENGTH|CAST_(OVERFLOW|INVALID_INPUT)|NUMERIC_VALUE_OUT_OF_RANGE|ARITHMETIC_OVERFLOW|CHECK_CONSTRAINT_VIOLATION|NOT_NULL_CONSTRAINT_VIOLATION)/,
    code: 'DELTA_VALUE_REFUSED',
    build: refusedRow,
    remedy: (where) => `Correct what the message names, in ${tableOf(where)} or its constraints.`,
  },
  { matches: /^TASK_WRITE_FAILED/, code: 'DELTA_WRITE_FAILED', build: transient },
  // The table is shorter than its history said a moment ago: it is being replaced; its id tells next time.
  { matches: /^DELTA_CDC_START_VERSION_AFTER_LATEST/, code: 'DELTA_VERSION_AHEAD', build: transient },
  {
    matches: /^DELTA_(CONCURRENT|METADATA_CHANGED|PROTOCOL_CHANGED|SCHEMA_CHANGE_SINCE_ANALYSIS)/,
    code: 'DELTA_CONFLICT',
    build: transient,
  },
  {
    matches: /^DELTA_MULTIPLE_SOURCE_ROW_MATCHING/,
    code: 'DELTA_DUPLICATE_KEYS',
    build: (details) => new BugError(details),
  },
];

/** SQLSTATE classes that waiting does not mend: wrong statement, name, right, value or Delta state. */
const LASTING_STATE = /^(0A|22|28|3D|3F|42|KD)/;
const VALUE_STATE = /^2[23]/;
const SESSION_LOST =
  /invalid (session|operation) ?handle|session (was closed|has expired|is closed|not found|does not exist)/i;
const TLS_FAILURE =
  /certificate|self-signed|ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_VERIFY|DEPTH_ZERO|wrong version number/i;
const LOGIN_REFUSED = /invalid_client|unauthorized_client|invalid_grant|access_denied/i;

/** What the driver throws: Errors, and for a refused call a plain object with `name`, `message`, `code`. */
interface DriverError {
  readonly name?: string;
  readonly message?: string;
  readonly code?: string | number;
  readonly type?: string | number;
  readonly statusCode?: number;
  readonly errorCode?: string;
  readonly response?: { readonly sqlState?: string; readonly status?: number };
  readonly payload?: unknown;
}

/**
 * What a failure of the Databricks driver means. Our own errors pass unchanged; what nobody has named
 * is judged by its SQLSTATE. Row values never enter the message: only the first line of the engine's text.
 */
export function translateDatabricks(error: unknown, where: DatabricksWhere): DeltaferryError {
  if (error instanceof DeltaferryError) return error;
  const found = (
    typeof error === 'object' && error !== null ? error : { message: String(error) }
  ) as DriverError;
  const text = found.message ?? '';
  const details = (code: string, remedy?: string): ErrorDetails => ({
    code,
    message: `Databricks, while ${describe(where)}: ${firstLine(text)}`,
    cause: withoutText(error, found),
    ...(remedy === undefined ? {} : { remedy }),
  });

  const errorClass = errorClassOf(text);
  if (errorClass !== undefined) {
    const rule = STATEMENT_RULES.find(({ matches }) => matches.test(errorClass));
    if (rule !== undefined) return rule.build(details(rule.code, rule.remedy?.(where)), text, where);
  }
  if (isSessionLost(error)) return new TransientError(details('DATABRICKS_SESSION_LOST'));
  const status = found.statusCode ?? httpStatusOf(found);
  if (status !== undefined) return byHttpStatus(status, details);
  if (TLS_FAILURE.test(`${found.code ?? ''} ${text}`))
    return new OperatorError(
      details('DATABRICKS_TLS', 'Check databricks.caFile and the name in the certificate of the host.'),
    );
  if (LOGIN_REFUSED.test(text))
    return new OperatorError(details('DATABRICKS_LOGIN', 'Check databricks.oauth (clientId, clientSecret).'));
  const state = found.response?.sqlState ?? '';
  // A line of ours that does not parse is our mistake, and Delta's own classes are all named above.
  if (VALUE_STATE.test(state) && where.columns !== undefined && !/^(MALFORMED|DELTA_)/.test(errorClass ?? ''))
    return new PoisonError(details('DELTA_VALUE_REFUSED'));
  if (LASTING_STATE.test(state))
    return new OperatorError(details('DATABRICKS_REFUSED', 'Correct what the message names.'));
  return new TransientError(
    details(found.errorCode === undefined ? 'DATABRICKS_UNAVAILABLE' : 'DATABRICKS_STATEMENT_FAILED'),
  );
}

/** Whether the server no longer knows our session (or refused before it ran anything). */
export function isSessionLost(error: unknown): boolean {
  return (
    typeof error === 'object' && error !== null && SESSION_LOST.test((error as DriverError).message ?? '')
  );
}

/** A task that fails in writing may be told as such, with what failed behind it. */
function errorClassOf(text: string): string | undefined {
  const first = /^\s*\[([A-Z][A-Z0-9_.]+)\]/.exec(text)?.[1];
  if (first !== 'TASK_WRITE_FAILED') return first;
  return /Caused by:[^[\n]*\[([A-Z][A-Z0-9_.]+)\]/.exec(text)?.[1] ?? first;
}

function byHttpStatus(
  status: number,
  details: (code: string, remedy?: string) => ErrorDetails,
): DeltaferryError {
  switch (status) {
    case 401:
    case 403:
      return new OperatorError(
        details(
          'DATABRICKS_LOGIN',
          'Check databricks.token or databricks.oauth, and CAN USE on the warehouse.',
        ),
      );
    case 404:
      return new OperatorError(
        details('DATABRICKS_WAREHOUSE_MISSING', 'Check databricks.host and databricks.path.'),
      );
    default:
      return new TransientError(details('DATABRICKS_UNAVAILABLE'));
  }
}

function httpStatusOf(error: DriverError): number | undefined {
  const payload = error.payload as { readonly response?: { readonly status?: number } } | undefined;
  return payload?.response?.status;
}

/** The version an incompatible schema begins at, as the message names it. */
function namedVersion(text: string): number | null {
  const found = /incompatible (?:data )?schema(?: change)? at version (\d+)/.exec(text)?.[1];
  return found === undefined ? null : Number(found);
}

function firstLine(text: string): string {
  const line = text.trimStart().split('\n', 1)[0]?.trimEnd() ?? '';
  return line.length > 400 ? `${line.slice(0, 400)}…` : line;
}

/** What the driver threw, without its text: that carries the statement and its whole plan, in the stack too. */
function withoutText(error: unknown, { name, errorCode, code, response }: DriverError): Error {
  const said = [name, errorCode ?? code, response?.sqlState].filter(
    (part) => part !== undefined && part !== null,
  );
  const cause = new Error(said.join(' '));
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const frames = stack.indexOf('\n    at ');
  if (frames >= 0) cause.stack = `${cause.name}: ${cause.message}${stack.slice(frames)}`;
  return cause;
}

function describe({ doing, table }: DatabricksWhere): string {
  return table === undefined ? doing : `${doing} (${table})`;
}
