import type { Pool } from 'pg';
import { OperatorError } from '../../errors.ts';
import { quoteQualified } from '../identifiers.ts';
import { refusalOf, translatePostgres } from './errors.ts';
import { versionKey, type HistoryTarget } from './history-ddl.ts';

/**
 * A refusal for which no change is to blame, in place of the error; else the error as it is. What another table refuses
 * (that of an audit trigger, say) is refused whatever the change, and a unique index that is not the history's own will
 * refuse again what it refuses now.
 */
export async function blame(pool: Pool, target: HistoryTarget, error: unknown): Promise<unknown> {
  const refusal = refusalOf(error);
  if (refusal === null) return error;
  const { schema, table, constraint, cause } = refusal;
  const values = [quoteQualified(target.table), schema, table, constraint];
  const { rows } = await pool.query<Refuser>(REFUSER, values).catch((reason: unknown) => {
    throw translatePostgres(reason, { doing: 'looking what refused a change', table: target.table });
  });
  const remedy = remedyFor(target, `${schema}.${table}`, rows[0]);
  return remedy === null
    ? error
    : new OperatorError({ code: refusal.code, message: refusal.message, remedy, cause });
}

interface Refuser {
  readonly ofHistory: boolean;
  /** All null where it was no unique index. */
  readonly index: string | null;
  readonly columns: readonly (string | null)[] | null;
  readonly partial: boolean | null;
}

// Of a partitioned table the server names the partition, and that one's index, which goes only with the whole.
const REFUSER = `
  WITH RECURSIVE tree AS (
    SELECT to_regclass($1)::oid AS oid
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid),
  named AS (
    SELECT c.oid, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $2 AND c.relname IN ($3, $4))
  SELECT EXISTS (SELECT FROM tree JOIN named USING (oid) WHERE name = $3) AS "ofHistory", x.*
  FROM (VALUES (1)) AS one LEFT JOIN LATERAL (
    SELECT (SELECT relname FROM pg_class WHERE oid = coalesce(pg_partition_root(i.indexrelid), i.indexrelid)) AS index,
           i.indpred IS NOT NULL AS partial,
           array(SELECT a.attname::text
                 FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
                 LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum <> 0
                 WHERE k.place <= i.indnkeyatts) AS columns
    FROM pg_index i JOIN named ON named.oid = i.indexrelid
    WHERE named.name = $4 AND i.indisunique) AS x ON true`;

function remedyFor(target: HistoryTarget, refusing: string, refuser: Refuser | undefined): string | null {
  if (refuser === undefined) return null;
  const { ofHistory, index, columns, partial } = refuser;
  if (!ofHistory)
    return `It is ${refusing} that refuses, written by a trigger of ${target.table} or bound to it by a foreign key: mend that; no change is to blame.`;
  if (columns === null || isOwn(target, columns, partial === true)) return null;
  return (
    `Drop ${index} of ${target.table}, or give it the columns ${versionKey(target).join(', ')}: ` +
    'it refuses versions that the history has to hold.'
  );
}

/** Whether the versions of one key alone can meet in it: then somebody else wrote the same one just now. */
function isOwn(
  { mapping, names }: HistoryTarget,
  columns: readonly (string | null)[],
  partial: boolean,
): boolean {
  const oneKey = mapping.key.every((name) => columns.includes(name));
  return oneKey && (partial || columns.includes(names.onDate) || columns.includes(names.offDate));
}
