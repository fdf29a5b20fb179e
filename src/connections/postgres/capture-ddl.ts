import type { ColumnType } from '../../change/table.ts';
import { UsageError } from '../../errors.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';
import { captureBody, NEW_ROWS, OLD_ROWS, type CaptureTarget } from './capture-sql.ts';

const SCHEMA = 'deltaferry';
/** Postgres cuts longer names off in silence. */
const NAME_BYTES = 63;

/** How many ids (`change_id`) a partition of a log holds. */
export const PARTITION_IDS = 4_000_000n;
/** How many partitions there are ahead of the one that is written to. */
export const PARTITIONS_AHEAD = 4;

/** What a table is captured with. None is quoted; log, partitions and function are in the schema `deltaferry`. */
export interface CaptureNames {
  readonly log: string;
  readonly defaultPartition: string;
  readonly function: string;
  readonly triggers: Readonly<Record<CaptureEvent, string>>;
}

export const CAPTURE_EVENTS = ['insert', 'update', 'delete', 'truncate'] as const;
export type CaptureEvent = (typeof CAPTURE_EVENTS)[number];

/**
 * The names for the table that deltaferry.yaml calls `table`. Throws a UsageError where one of them, or
 * that of any partition to come, would be longer than Postgres keeps.
 */
export function captureNames(table: string): CaptureNames {
  const names = {
    log: `${table}_changes`,
    defaultPartition: `${table}_changes_default`,
    function: `log_to_kafka_${table}`,
    triggers: {
      insert: `deltaferry_${table}_insert`,
      update: `deltaferry_${table}_update`,
      delete: `deltaferry_${table}_delete`,
      truncate: `deltaferry_${table}_truncate`,
    },
  };
  const longest = [
    partitionName(table, LAST_PARTITION),
    names.defaultPartition,
    names.function,
    ...Object.values(names.triggers),
  ].reduce((a, b) => (Buffer.byteLength(a) < Buffer.byteLength(b) ? b : a));
  const excess = Buffer.byteLength(longest) - NAME_BYTES;
  if (excess > 0)
    throw new UsageError({
      code: 'CAPTURE_NAME_TOO_LONG',
      message: `table ${table}: its name is too long to be captured in Postgres: ${longest} has more than ${NAME_BYTES} bytes.`,
      remedy: `Give it a name in deltaferry.yaml that is ${excess} bytes shorter; the table itself keeps its name.`,
    });
  return names;
}

/** `deltaferry."employees_changes"` */
export function logTable(table: string): string {
  return inSchema(captureNames(table).log);
}

/** The n-th partition, counted from 0: it holds the ids of `partitionRange(n)`. Not quoted. */
export function partitionName(table: string, n: bigint): string {
  return `${table}_changes_${n}`;
}

/** First id in, and first id after, the n-th partition. */
export function partitionRange(n: bigint): readonly [bigint, bigint] {
  return [n * PARTITION_IDS, (n + 1n) * PARTITION_IDS];
}

/**
 * The log with its first partitions. Ids that run past every partition made ahead go to the default one:
 * a writer must never fail for want of a partition.
 */
export function createLogSql(table: string): readonly string[] {
  const { defaultPartition } = captureNames(table);
  const log = logTable(table);
  const partitions = Array.from({ length: PARTITIONS_AHEAD }, (_, n) => createPartitionSql(table, BigInt(n)));
  return [
    `CREATE TABLE ${log} (
  change_id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
  xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
  op "char" NOT NULL,
  key text NOT NULL,
  before json,
  after json,
  changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) PARTITION BY RANGE (change_id)`,
    `CREATE INDEX ON ${log} (xid)`,
    ...partitions,
    `CREATE TABLE ${inSchema(defaultPartition)} PARTITION OF ${log} DEFAULT`,
    `REVOKE ALL ON ${log} FROM PUBLIC`,
  ];
}

/** Its columns as `format_type` tells their types. */
export const LOG_COLUMNS: readonly string[] = [
  'change_id bigint',
  'xid xid8',
  'op "char"',
  'key text',
  'before json',
  'after json',
  'changed_at timestamp with time zone',
];

/** Takes an ACCESS EXCLUSIVE lock on the log: for a log that nobody writes to yet. */
export function createPartitionSql(table: string, n: bigint): string {
  const [from, to] = partitionRange(n);
  return `CREATE TABLE ${inSchema(partitionName(table, n))} PARTITION OF ${logTable(table)} FOR VALUES FROM (${from}) TO (${to})`;
}

/** The function alone, also over an older one of itself: what changes when the mapped columns do. */
export function createCaptureFunctionSql(target: CaptureTarget): readonly string[] {
  const name = captureFunction(target.mapping.name);
  return [
    `CREATE OR REPLACE FUNCTION ${name} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
${captureSettings(target)
  .map(([setting, value]) => `SET ${setting} = ${value}`)
  .join(' ')}
AS ${dollarQuoted(captureBody(target, captureNames(target.mapping.name)))}`,
    `REVOKE ALL ON FUNCTION ${name} FROM PUBLIC`,
  ];
}

/**
 * What the function sees whoever writes: no object of the writer's, and one text form for every value.
 * The names are as pg_proc.proconfig writes them. Each costs a microsecond or two per statement: those that no
 * mapped column depends on are left out.
 */
export function captureSettings({
  mapping,
}: CaptureTarget): readonly (readonly [name: string, value: string])[] {
  const has = (...types: readonly ColumnType['name'][]) =>
    mapping.columns.some(({ type }) => types.includes(type.name));
  return [
    ['search_path', 'pg_catalog, pg_temp'],
    ...(has('date', 'timestamp', 'timestamptz') ? ([['DateStyle', `'ISO, YMD'`]] as const) : []),
    ...(has('timestamptz') ? ([['TimeZone', `'UTC'`]] as const) : []),
    ...(has('bytea') ? ([['bytea_output', `'hex'`]] as const) : []),
    ...(has('real', 'double precision') ? ([['extra_float_digits', `'1'`]] as const) : []),
  ];
}

/**
 * One trigger on the captured table or on one of its partitions (`relation` is quoted already). Needs the
 * TRIGGER privilege, not ownership; an older trigger of the same name is replaced and switched on again.
 */
export function createTriggerSql(table: string, event: CaptureEvent, relation: string): string {
  const names = captureNames(table);
  const referencing = TRANSITION_TABLES[event];
  return [
    `CREATE OR REPLACE TRIGGER ${quoteIdent(names.triggers[event])}`,
    `${event === 'truncate' ? 'BEFORE' : 'AFTER'} ${event.toUpperCase()} ON ${relation}`,
    ...(referencing === '' ? [] : [`REFERENCING ${referencing}`]),
    `FOR EACH STATEMENT WHEN (${NOT_OURS})`,
    `EXECUTE FUNCTION ${captureFunction(table)}`,
  ].join(' ');
}

/** Function and triggers on an ordinary table; the log is there. */
export function createCaptureSql(
  target: CaptureTarget,
  relations: readonly string[] = [quoteQualified(target.table)],
): readonly string[] {
  return [
    ...createCaptureFunctionSql(target),
    ...relations.flatMap((relation) =>
      CAPTURE_EVENTS.map((event) => createTriggerSql(target.mapping.name, event, relation)),
    ),
  ];
}

/**
 * Triggers, function and log go. The triggers go by way of the function, which is ours: to drop one by
 * its name takes the owner of the table.
 */
export function dropCaptureSql(table: string): readonly [dropFunction: string, dropLog: string] {
  return [
    `DROP FUNCTION IF EXISTS ${captureFunction(table)} CASCADE`,
    `DROP TABLE IF EXISTS ${logTable(table)}`,
  ];
}

/** What our own sinks write is marked for their transaction, and must not come back. */
const NOT_OURS = `coalesce(pg_catalog.current_setting('deltaferry.origin', true), '') OPERATOR(pg_catalog.=) ''`;

const TRANSITION_TABLES: Readonly<Record<CaptureEvent, string>> = {
  insert: `NEW TABLE AS ${NEW_ROWS}`,
  update: `OLD TABLE AS ${OLD_ROWS} NEW TABLE AS ${NEW_ROWS}`,
  delete: `OLD TABLE AS ${OLD_ROWS}`,
  truncate: '',
};

/** Where the ids of a bigint end. */
const LAST_PARTITION = 2n ** 63n / PARTITION_IDS;

/** `deltaferry."log_to_kafka_employees"()` */
export function captureFunction(table: string): string {
  return `${inSchema(captureNames(table).function)}()`;
}

function inSchema(name: string): string {
  return `${SCHEMA}.${quoteIdent(name)}`;
}

/** Column names may hold anything, also what looks like the end of the body. */
function dollarQuoted(body: string): string {
  let tag = '$capture$';
  for (let n = 1; body.includes(tag); n++) tag = `$capture${n}$`;
  return tag + body + tag;
}
