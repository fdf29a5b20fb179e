import { z } from 'zod';
import { databricks, kafka, postgres, registry } from './connection-schemas.ts';
import { noted, treeOf, type MapNode } from './fields.ts';
import { tableSchema } from './table-schema.ts';
import { configRules, databricksRules, pollingRules, registryRules, tablesRules } from './rules.ts';

/**
 * The one description of the configuration: types, defaults, environment names, help, redaction and
 * docs/CONFIGURATION.md all come from here.
 */
const text = () => z.string().min(1);
const count = (least: number, most: number) => z.int().min(least).max(most);
const milliseconds = (least: number, most = 24 * 60 * 60 * 1000) => count(least, most);
/** Rules over several fields run even where a field alone does not fit: one report lists everything. */
const always = { when: () => true };
const DAY_MS = 24 * 60 * 60 * 1000;

const topics = z.strictObject({
  positions: noted(
    z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,249}$/, { error: 'must be a topic name: letters, digits, . _ -' })
      .default('deltaferry.positions'),
    'Compacted topic of the producers’ positions. Two deployments on one Kafka need one each.',
  ),
  retentionMs: noted(
    z
      .int()
      .min(60_000)
      .default(7 * DAY_MS),
    'How long `setup` lets changes stay on a topic that it creates, milliseconds. Late changes older than this cannot be replayed.',
  ),
  deadLetterRetentionMs: noted(
    z
      .int()
      .min(60_000)
      .default(30 * DAY_MS),
    'The same for dead letters.',
  ),
  maxMessageBytes: noted(
    count(1_000_000, 64 * 1024 * 1024).default(8_000_000),
    'Largest record (`max.message.bytes`) of a topic that `setup` or `backfill` creates. A change holds its row before and after; a larger one stops its table.',
  ),
});

const batching = z.strictObject({
  maxChangesPerTransaction: noted(
    count(1, 100_000).default(10_000),
    'Most changes that a producer sends in one Kafka transaction. More takes memory; far fewer are slower under load.',
  ),
  maxBatchChanges: noted(
    count(1, 100_000).default(8000),
    'Most changes that a sink applies in one database transaction.',
  ),
  maxBytesPerPartition: noted(
    count(1024, 64 * 1024 * 1024).default(262_144),
    'Most bytes fetched of one partition at a time. Compressed batches grow in memory: raise with care.',
  ),
  partitionsConcurrently: noted(
    count(1, 256).default(4),
    'Partitions applied side by side, a database connection each.',
  ),
});

const merging = z.strictObject({
  maxChanges: noted(
    count(1, 1_000_000).default(100_000),
    'Most keys of one MERGE. A larger one costs less per key and takes memory.',
  ),
  maxBytes: noted(
    count(1024, 256 * 1024 * 1024).default(32 * 1024 * 1024),
    'Most bytes of records waiting for the next MERGE.',
  ),
  minAgeMs: noted(
    milliseconds(0).default(200),
    'How long a change waits for others where nothing else is left to read. More is fewer and larger commits, and a higher latency.',
  ),
  maxAgeMs: noted(
    milliseconds(1).default(2000),
    'How long it waits at most, also while a backlog is being read.',
  ),
  optimizeEveryMinutes: noted(
    count(0, 100_000).default(0),
    'How often OPTIMIZE joins the small files that merges leave, in quiet moments; `0`: never.',
  ),
});

const polling = z.strictObject({
  minMs: noted(milliseconds(0).default(5), 'Pause between two looks at a source under load.'),
  maxMs: noted(
    milliseconds(1).default(200),
    'The same when nothing happens; it is part of the latency of the next change. Each look at a Delta table is a statement, which keeps the SQL warehouse awake.',
  ),
  historyLimit: noted(
    count(2, 10_000).default(100),
    'Most Delta commits read from the table’s history at once; a longer backlog is read in several steps.',
  ),
});

const delivery = z.strictObject({
  lockTimeoutMs: noted(
    milliseconds(1).default(3000),
    'How long a sink waits for a row or table lock before it backs off, so that it never holds up the users’ own transactions.',
  ),
  maxClockSkewMs: noted(
    z.int().min(0).default(300_000),
    'A change dated further ahead than this is dead-lettered: it would freeze its key.',
  ),
  sessionTimeoutMs: noted(
    milliseconds(500).default(30_000),
    'How long a silent consumer keeps its partitions. Lower recovers faster from a killed process, higher bears longer pauses.',
  ),
  stoppedRetryMs: noted(
    milliseconds(1).default(30_000),
    'How often a stopped table or partition is tried again.',
  ),
  drainTimeoutMs: noted(
    milliseconds(1).default(25_000),
    'How long work in hand may take after SIGTERM. Keep it under the orchestrator’s grace period (Kubernetes: 30 s).',
  ),
});

const http = z.strictObject({
  enabled: noted(z.boolean().default(true), 'Whether `run` serves `/metrics`, `/livez` and `/readyz`.'),
  host: noted(text().default('127.0.0.1'), 'Address to listen on; `0.0.0.0` in a container.'),
  port: noted(count(0, 65_535).default(9464), 'Port to listen on; `0`: any free one, named in the log.'),
});

const log = z.strictObject({
  level: noted(
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
    'The least severe lines to write.',
  ),
  format: noted(
    z.enum(['auto', 'json', 'pretty']).default('auto'),
    '`auto`: readable on a terminal, JSON lines otherwise.',
  ),
});

const stack = z.strictObject({
  dir: noted(text().default('.deltaferry'), 'Folder of the local stack (`deltaferry stack`).', {
    folder: true,
  }),
});

/** Sections by name; a command that needs one only validates that one. */
export const sections = {
  kafka: noted(kafka.prefault({} as never), 'The brokers that carry the changes.'),
  registry: noted(registry.superRefine(registryRules, always).prefault({} as never), 'The schema registry.'),
  postgres: noted(
    postgres.prefault({} as never),
    'The Postgres database with the history tables and the control schema `deltaferry`.',
  ),
  databricks: noted(
    databricks.superRefine(databricksRules, always).prefault({} as never),
    'The Databricks workspace with the Delta tables. One of `token` and `oauth`.',
  ),
  tables: noted(
    z.array(tableSchema).min(1).superRefine(tablesRules, always),
    'The tables that are kept in step.',
  ),
  topics: noted(topics.prefault({}), 'What the topics have in common.'),
  batching: noted(batching.prefault({}), 'How much is done at once.'),
  polling: noted(polling.superRefine(pollingRules, always).prefault({}), 'How often the sources are asked.'),
  merging: noted(merging.prefault({}), 'How changes are gathered for a MERGE into Delta.'),
  delivery: noted(delivery.prefault({}), 'How failures and hand-overs are treated.'),
  http: noted(http.prefault({}), 'Metrics and health.'),
  log: noted(log.prefault({}), 'Log lines, on standard error.'),
  stack: noted(
    stack.prefault({}),
    'The local stack, whose endpoints stand in for connections that are not configured.',
  ),
};

export type SectionName = keyof typeof sections;

export const configSchema = z.strictObject(sections).superRefine(configRules, always);

export const configTree = treeOf(z.strictObject(sections)) as MapNode;

/** A validated configuration: every default filled in, every secret read, every file path absolute. */
export type Config = z.output<typeof configSchema>;
export type KafkaConfig = Config['kafka'];
export type RegistryConfig = Config['registry'];
export type PostgresConfig = Config['postgres'];
export type DatabricksConfig = Config['databricks'];
export type TlsConfig = KafkaConfig['tls'];

/** What `parseConfig` accepts: the configuration as one writes it. */
export type ConfigInput = z.input<typeof configSchema>;
