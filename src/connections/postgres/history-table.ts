import type { Pool } from 'pg';
import type { TableMapping } from '../../change/table.ts';
import { quoteIdent, quoteQualified, splitQualified } from '../identifiers.ts';
import { translatePostgres } from './errors.ts';

export interface CatalogColumn {
  readonly name: string;
  /** As `format_type` writes it: `timestamp with time zone`, `numeric(12,2)`. */
  readonly type: string;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  /** GENERATED ALWAYS AS (expression): nobody can write it. */
  readonly generated: boolean;
  readonly identity: 'always' | 'by default' | null;
  /** The name of its collation, where that takes different texts for equal. */
  readonly looseCollation: string | null;
}

export interface CatalogUniqueIndex {
  readonly name: string;
  /** Key columns in order; null stands for an expression. */
  readonly columns: readonly (string | null)[];
  readonly primary: boolean;
  /** Belongs to a PRIMARY KEY or UNIQUE constraint, and goes only with it. */
  readonly constraint: boolean;
  /** As `pg_get_expr` writes it, `(off_date IS NULL)`; null: covers all rows. */
  readonly predicate: string | null;
  /** False: checked only at commit, or left invalid by a failed CREATE INDEX CONCURRENTLY. */
  readonly enforced: boolean;
}

/** Enum types of the mapping → the name that `format_type` gives them; null: there is no such type. */
export type EnumNames = ReadonlyMap<string, string | null>;

/** What the catalog says of a history table. */
export type HistoryTableFacts =
  | { readonly exists: false; readonly schemaExists: boolean; readonly enums: EnumNames }
  | {
      readonly exists: true;
      /** What it is in Postgres's words: `table`, `partitioned table`, `view`, … */
      readonly kind: string;
      /** False for an UNLOGGED table, which is emptied after a crash. */
      readonly logged: boolean;
      readonly rowSecurity: boolean;
      readonly columns: readonly CatalogColumn[];
      readonly uniqueIndexes: readonly CatalogUniqueIndex[];
      readonly enums: EnumNames;
    };

const RELATION = `
  select c.oid, c.relpersistence <> 'u' as logged, c.relrowsecurity as "rowSecurity",
         case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
              when 'm' then 'materialized view' when 'f' then 'foreign table' else 'relation' end as kind
  from pg_class c where c.oid = to_regclass($1)`;

const COLUMNS = `
  select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as "notNull",
         a.atthasdef and a.attgenerated = '' as "hasDefault", a.attgenerated <> '' as generated,
         case a.attidentity when 'a' then 'always' when 'd' then 'by default' end as identity,
         (select l.collname from pg_collation l where l.oid = a.attcollation and not l.collisdeterministic) as "looseCollation"
  from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum`;

const UNIQUE_INDEXES = `
  select i.relname as name, x.indisprimary as "primary",
         exists(select 1 from pg_constraint k where k.conindid = i.oid and k.contype in ('p', 'u')) as "constraint",
         x.indimmediate and x.indisvalid as enforced,
         pg_get_expr(x.indpred, x.indrelid) as predicate,
         array(select a.attname::text
               from unnest(x.indkey) with ordinality as k(attnum, place)
               left join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum and k.attnum <> 0
               where k.place <= x.indnkeyatts order by k.place) as columns
  from pg_index x join pg_class i on i.oid = x.indexrelid
  where x.indrelid = $1 and x.indisunique order by i.relname`;

const ENUMS = `
  select wanted, case when t.typtype = 'e' then format_type(t.oid, null) end as name
  from unnest($1::text[], $2::text[]) as w(wanted, quoted) left join pg_type t on t.oid = to_regtype(quoted)`;

// A name without a schema goes where CREATE TABLE would put it: the first schema of the search path.
const SCHEMA_EXISTS = `select case when $1::text is null then current_schema() is not null
                              else to_regnamespace($1) is not null end as found`;

interface RelationRow {
  readonly oid: number;
  readonly logged: boolean;
  readonly rowSecurity: boolean;
  readonly kind: string;
}

/** Reads and creates history tables (`schema.table`). */
export function createHistoryTables(pool: Pool) {
  return {
    async describe(table: string, mapping: TableMapping): Promise<HistoryTableFacts> {
      const name = quoteQualified(table);
      try {
        const enums = await enumNames(pool, mapping);
        const relation = (await pool.query<RelationRow>(RELATION, [name])).rows[0];
        if (relation === undefined) {
          const schema = await pool.query<{ found: boolean }>(SCHEMA_EXISTS, [schemaOf(table)]);
          return { exists: false, schemaExists: schema.rows[0]?.found === true, enums };
        }
        const { oid, ...facts } = relation;
        const columns = await pool.query<CatalogColumn>(COLUMNS, [oid]);
        const indexes = await pool.query<CatalogUniqueIndex>(UNIQUE_INDEXES, [oid]);
        return { exists: true, ...facts, columns: columns.rows, uniqueIndexes: indexes.rows, enums };
      } catch (error) {
        throw translatePostgres(error, { doing: 'reading the catalog', table });
      }
    },

    /** All statements in one transaction; does nothing where the table exists by now. */
    async create(table: string, statements: readonly string[]): Promise<void> {
      const client = await pool.connect().catch((error: unknown) => {
        throw translatePostgres(error, { doing: 'creating the history table', table });
      });
      let failure: Error | undefined;
      try {
        await client.query('begin');
        await client.query(`set local lock_timeout = '60s'`);
        // CREATE TABLE IF NOT EXISTS is no protection against another one at the same moment.
        await client.query(`select pg_advisory_xact_lock(hashtextextended('deltaferry setup', 0))`);
        // By way of pg_class: to_regclass alone answers from a cache that the wait for the lock left stale.
        const there = await client.query('select from pg_class where oid = to_regclass($1)', [
          quoteQualified(table),
        ]);
        if (there.rowCount === 0) for (const statement of statements) await client.query(statement);
        await client.query('commit');
      } catch (error) {
        failure = translatePostgres(error, { doing: 'creating the history table', table });
        throw failure;
      } finally {
        // A client with a failed transaction is thrown away rather than rolled back: its connection may be gone.
        client.release(failure);
      }
    },
  };
}

/** The quoted schema of `schema.table`, null for a bare name. */
function schemaOf(table: string): string | null {
  const parts = splitQualified(table);
  return parts.length > 1 ? quoteIdent(parts[0] ?? '') : null;
}

async function enumNames(pool: Pool, mapping: TableMapping): Promise<EnumNames> {
  const wanted = new Set(mapping.columns.flatMap(({ type }) => (type.name === 'enum' ? [type.type] : [])));
  if (wanted.size === 0) return new Map();
  const names = [...wanted];
  const found = await pool.query<{ wanted: string; name: string | null }>(ENUMS, [
    names,
    names.map((name) => quoteQualified(name)),
  ]);
  return new Map(found.rows.map((row) => [row.wanted, row.name]));
}
