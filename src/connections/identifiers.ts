import { UsageError } from '../errors.ts';

/** Whose quoting rules: Postgres doubles `"`, Databricks SQL doubles the backtick. */
export type SqlDialect = 'postgres' | 'databricks';

const QUOTE: Record<SqlDialect, string> = { postgres: '"', databricks: '`' };
/** Postgres cuts longer names off in silence, and would then use another object. */
const POSTGRES_NAME_BYTES = 63;

/**
 * One name for Postgres, quoted: case and spaces are kept, nothing in it is read as SQL. The only
 * place where a name enters a statement. Throws a UsageError for a name that the engine cannot hold.
 */
export function quoteIdent(name: string): string {
  return quoteFor(name, 'postgres');
}

/** `schema.table` quoted part by part; a part that holds a dot is written in double quotes. */
export function quoteQualified(name: string): string {
  return splitQualified(name)
    .map((part) => quoteFor(part, 'postgres'))
    .join('.');
}

/** The same for Databricks SQL, in backticks. */
export function quoteDatabricksIdent(name: string): string {
  return quoteFor(name, 'databricks');
}

export function quoteDatabricksQualified(name: string): string {
  return splitQualified(name, 'databricks')
    .map((part) => quoteFor(part, 'databricks'))
    .join('.');
}

/** `hr.employees` → ["hr", "employees"], `"odd.schema".t` → ["odd.schema", "t"]. */
export function splitQualified(name: string, dialect: SqlDialect = 'postgres'): readonly string[] {
  const quote = QUOTE[dialect];
  const part = new RegExp(
    `(?:${quote}((?:[^${quote}]|${quote}${quote})+)${quote}|([^.${quote}]+))(\\.|$)`,
    'y',
  );
  const parts: string[] = [];
  for (let more = true; more;) {
    const match = part.exec(name);
    if (match === null) throw invalidName(name, 'it is not of the form schema.table');
    parts.push(match[1]?.replaceAll(quote + quote, quote) ?? match[2] ?? '');
    more = match[3] === '.';
  }
  return parts;
}

function quoteFor(name: string, dialect: SqlDialect): string {
  if (name === '' || name.includes('\0'))
    throw invalidName(name, name === '' ? 'it is empty' : 'it has a NUL character');
  if (dialect === 'postgres' && Buffer.byteLength(name) > POSTGRES_NAME_BYTES)
    throw invalidName(name, `it is longer than the ${POSTGRES_NAME_BYTES} bytes Postgres keeps`);
  const quote = QUOTE[dialect];
  return quote + name.replaceAll(quote, quote + quote) + quote;
}

function invalidName(name: string, why: string): UsageError {
  return new UsageError({
    code: 'NAME_INVALID',
    message: `The name ${JSON.stringify(name)} cannot be used: ${why}.`,
    remedy: 'Write it as name or schema.name; a part with a dot inside goes in quotes.',
  });
}
