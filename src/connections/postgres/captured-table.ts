import type { Pool, PoolClient } from 'pg';
import { quoteQualified } from '../identifiers.ts';
import {
  CAPTURE_EVENTS,
  captureFunction,
  captureNames,
  captureSettings,
  dropCaptureSql,
  LOG_COLUMNS,
  logTable,
  type CaptureEvent,
} from './capture-ddl.ts';
import { captureBody, NEW_ROWS, OLD_ROWS, type CaptureTarget } from './capture-sql.ts';
import { translatePostgres } from './errors.ts';
import { createHistoryTables, type HistoryTableFacts } from './history-table.ts';
import { inTransaction } from './transaction.ts';

/** `same`: what would be installed now. */
export type Installed = 'missing' | 'differs' | 'same';

/** The captured table, or one of its partitions. */
export interface CapturedRelation {
  /** Schema and name, quoted. */
  readonly name: string;
  readonly kind: 'table' | 'partitioned table' | 'foreign table';
  readonly triggers: Readonly<Record<CaptureEvent, Installed>>;
  /** Privileges of the role that asks. */
  readonly mayTrigger: boolean;
  readonly maySelect: boolean;
  /** Policies would hide rows from it. */
  readonly rowsHidden: boolean;
}

/** What the catalog says of a table and of what captures it. */
export interface CaptureFacts {
  readonly table: HistoryTableFacts;
  /** The table itself and, where it is partitioned, everything below it; empty where there is no table. */
  readonly relations: readonly CapturedRelation[];
  /** Is a child, or has children, by INHERITS. */
  readonly inherits: boolean;
  /** The partitioned table that it is a partition of, quoted. */
  readonly partitionOf: string | null;
  readonly log: Installed;
  readonly function: Installed;
  /** Who owns log or function where the role that asks has not that role's rights. */
  readonly foreignOwner: string | null;
  /** Tables that fire the function but are not captured under this name, quoted. */
  readonly strays: readonly string[];
  /** The role that asks. */
  readonly role: string;
}

export interface CaptureStatements {
  /** Run only where there is no log by then. */
  readonly log: readonly string[];
  /** Each may run again over what is there. */
  readonly capture: readonly string[];
}

/** What `uninstall` takes away. */
export interface LoggedRows {
  /** Committed rows that the log still holds; null: there is no log. */
  readonly rows: number | null;
  /** Those of them that the given snapshot does not see. */
  readonly unpublished: number;
  readonly function: boolean;
}

/** Long enough for ordinary transactions to end, short enough not to hold up the table's users behind us. */
const LOCK_TIMEOUT = '5s';
const SETUP_LOCK = `SELECT pg_advisory_xact_lock(hashtextextended('deltaferry setup', 0))`;

const RELATIONS = `
  WITH tree AS (SELECT relid::oid AS oid, level FROM pg_partition_tree($1::oid)
                UNION SELECT $1::oid, 0)
  SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name,
         CASE c.relkind WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
         has_table_privilege(c.oid, 'TRIGGER') AS "mayTrigger", has_table_privilege(c.oid, 'SELECT') AS "maySelect",
         row_security_active(c.oid) AS "rowsHidden"
  FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  ORDER BY t.level, 2`;

const TRIGGERS = `
  SELECT t.tgrelid AS oid, t.tgname AS name, t.tgenabled IN ('O', 'A') AND t.tgfoid = to_regproc($1)::oid
           AND t.tgtype = CASE t.tgname WHEN $3 THEN 4 WHEN $4 THEN 16 WHEN $5 THEN 8 ELSE 34 END
           AND t.tgnewtable IS NOT DISTINCT FROM CASE WHEN t.tgname IN ($3, $4) THEN '${NEW_ROWS}' END
           AND t.tgoldtable IS NOT DISTINCT FROM CASE WHEN t.tgname IN ($4, $5) THEN '${OLD_ROWS}' END
           AND pg_get_triggerdef(t.oid) ~ 'WHEN .*current_setting\\(''deltaferry\\.origin''' AS same
  FROM pg_trigger t WHERE t.tgrelid = ANY ($2) AND t.tgname IN ($3, $4, $5, $6)`;

const STRAYS = `
  SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE t.tgfoid = to_regproc($1)::oid AND t.tgrelid <> ALL ($2) ORDER BY 1`;

const FUNCTION = `
  SELECT p.prosrc = $2 AND p.prosecdef AND l.lanname = 'plpgsql' AND p.proconfig = $3::text[]
           AND NOT has_function_privilege('public', p.oid, 'EXECUTE') AS same,
         p.proowner::regrole::text AS owner, pg_has_role(p.proowner, 'USAGE') AS ours
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid = to_regproc($1)`;

const LOG = `
  SELECT c.relkind = 'p' AND p.partdefid <> 0
           AND array(SELECT format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)) FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) = $2::text[] AS same,
         c.relowner::regrole::text AS owner, pg_has_role(c.relowner, 'USAGE') AS ours
  FROM pg_class c LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid WHERE c.oid = to_regclass($1)`;

const FAMILY = `
  SELECT coalesce(bool_or(c.relkind <> 'p'), false) AS inherits,
         max(format('%I.%I', n.nspname, c.relname)) FILTER (WHERE c.relkind = 'p' AND i.inhrelid = $1) AS "partitionOf"
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE $1 IN (i.inhparent, i.inhrelid)`;

interface Owned {
  readonly same: boolean;
  readonly owner: string;
  readonly ours: boolean;
}

/** Reads, installs and removes what captures a table. */
export function createCapturedTables(pool: Pool) {
  const tables = createHistoryTables(pool);
  return {
    async describe(target: CaptureTarget): Promise<CaptureFacts> {
      const table = await tables.describe(target.table, target.mapping);
      try {
        const oid = await oidOf(pool, target.table);
        return { table, ...(await readCapture(pool, target, oid)) };
      } catch (error) {
        throw translatePostgres(error, { doing: 'reading the catalog', table: target.table });
      }
    },

    /** In one transaction. Throws a TransientError where a transaction on the table does not end for 5 s. */
    install(target: CaptureTarget, { log, capture }: CaptureStatements): Promise<void> {
      const where = { doing: 'installing the capture', table: target.table };
      return inTransaction(pool, where, async (client) => {
        await client.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
        await client.query(SETUP_LOCK);
        const there = await client.query('SELECT FROM pg_class WHERE oid = to_regclass($1)', [
          logTable(target.mapping.name),
        ]);
        if (there.rowCount === 0) for (const statement of log) await client.query(statement);
        for (const statement of capture) await client.query(statement);
      });
    },

    /** What is there, counted against the snapshot up to which the log is published (null: nothing is). */
    logged(name: string, published: string | null): Promise<LoggedRows> {
      const where = { doing: 'counting the rows of the log', table: logTable(name) };
      return inTransaction(pool, where, async (client) =>
        countLogged(client, name, published, await whatIsThere(client, name)),
      );
    },

    /** Answers what went with it. In one transaction; the captured table keeps its rows. */
    uninstall(name: string, published: string | null): Promise<LoggedRows> {
      const where = { doing: 'removing the capture', table: logTable(name) };
      return inTransaction(pool, where, async (client) => {
        await client.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
        await client.query(SETUP_LOCK);
        const [dropFunction, dropLog] = dropCaptureSql(name);
        const there = await whatIsThere(client, name);
        // Once the triggers are gone nobody writes any more, and the count is final.
        await client.query(dropFunction);
        const gone = await countLogged(client, name, published, there);
        await client.query(dropLog);
        return gone;
      });
    },
  };
}

async function readCapture(
  pool: Pool,
  target: CaptureTarget,
  oid: number | null,
): Promise<Omit<CaptureFacts, 'table'>> {
  const names = captureNames(target.mapping.name);
  const functionName = captureFunction(target.mapping.name).slice(0, -2);
  const found =
    oid === null
      ? []
      : (await pool.query<Omit<CapturedRelation, 'triggers'> & { oid: number }>(RELATIONS, [oid])).rows;
  const oids = found.map((relation) => relation.oid);
  const { insert, update, delete: remove, truncate } = names.triggers;
  const triggers = await pool.query<{ oid: number; name: string; same: boolean }>(TRIGGERS, [
    functionName,
    oids,
    insert,
    update,
    remove,
    truncate,
  ]);
  const relations = found.map(({ oid: relation, ...facts }): CapturedRelation => {
    const state = (event: CaptureEvent): Installed => {
      const trigger = triggers.rows.find((row) => row.oid === relation && row.name === names.triggers[event]);
      return installed(trigger);
    };
    const states = Object.fromEntries(CAPTURE_EVENTS.map((event) => [event, state(event)]));
    return { ...facts, triggers: states as Record<CaptureEvent, Installed> };
  });
  const settings = captureSettings(target).map(([name, value]) => `${name}=${value.replaceAll("'", '')}`);
  const body = captureBody(target, names);
  const [routine] = (await pool.query<Owned>(FUNCTION, [functionName, body, settings])).rows;
  const [log] = (await pool.query<Owned>(LOG, [logTable(target.mapping.name), LOG_COLUMNS])).rows;
  const strays = await pool.query<{ name: string }>(STRAYS, [functionName, oids]);
  const family = await pool.query<Pick<CaptureFacts, 'inherits' | 'partitionOf'>>(FAMILY, [oid ?? 0]);
  const role = await pool.query<{ role: string }>('SELECT current_user::text AS role');
  return {
    relations,
    inherits: family.rows[0]?.inherits === true,
    partitionOf: family.rows[0]?.partitionOf ?? null,
    log: installed(log),
    function: installed(routine),
    foreignOwner: [routine, log].find((owned) => owned?.ours === false)?.owner ?? null,
    strays: strays.rows.map(({ name }) => name),
    role: role.rows[0]?.role ?? '',
  };
}

function installed(found: { readonly same: boolean } | undefined): Installed {
  if (found === undefined) return 'missing';
  return found.same ? 'same' : 'differs';
}

async function oidOf(pool: Pool, table: string): Promise<number | null> {
  const found = await pool.query<{ oid: number | null }>('SELECT to_regclass($1)::oid AS oid', [
    quoteQualified(table),
  ]);
  return found.rows[0]?.oid ?? null;
}

interface Present {
  readonly log: boolean;
  readonly function: boolean;
}

async function whatIsThere(client: PoolClient, name: string): Promise<Present> {
  const { rows } = await client.query<Present>(
    'SELECT to_regclass($1) IS NOT NULL AS log, to_regproc($2) IS NOT NULL AS function',
    [logTable(name), captureFunction(name).slice(0, -2)],
  );
  return rows[0] ?? { log: false, function: false };
}

async function countLogged(
  client: PoolClient,
  name: string,
  published: string | null,
  there: Present,
): Promise<LoggedRows> {
  if (!there.log) return { rows: null, unpublished: 0, function: there.function };
  const counted = await client.query<{ rows: string; unpublished: string }>(
    `SELECT count(*) AS rows,
            count(*) FILTER (WHERE $1::pg_snapshot IS NULL OR NOT pg_visible_in_snapshot(xid, $1::pg_snapshot)) AS unpublished
     FROM ${logTable(name)}`,
    [published],
  );
  const [row] = counted.rows;
  return { rows: Number(row?.rows), unpublished: Number(row?.unpublished), function: there.function };
}
