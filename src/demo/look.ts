import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabricks } from '../connections/databricks/client.ts';
import { quoteDatabricksQualified, quoteQualified } from '../connections/identifiers.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createDeadLetterReader } from '../connections/kafka/dead-letter-reader.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { UsageError } from '../errors.ts';
import { decodedValue } from '../service/dead-letters.ts';
import type { Config } from '../service/config/schema.ts';
import type { TableConfig } from '../service/config/table-schema.ts';
import { databricksOptions, kafkaOptions, postgresOptions, registryOptions } from '../service/connect.ts';
import { subjectOf } from '../setup/request.ts';
import { demoConfig } from './demo-config.ts';

export const PARTS = ['kafka', 'registry', 'postgres', 'delta'] as const;
export type Part = (typeof PARTS)[number];

/** What a part of the stack holds of the demo's table, for people. */
export interface Look {
  readonly title: string;
  /** Texts by column; all have the same ones. */
  readonly rows: readonly Readonly<Record<string, string>>[];
}

const ROWS = 10;

/** The configuration of a demo that was kept. Throws a UsageError where there is none. */
export async function keptDemo(
  dir: string,
  conceal: (clean: (text: string) => string) => void,
): Promise<Config> {
  if (existsSync(join(dir, 'stack.json'))) return demoConfig(dir, conceal);
  throw new UsageError({
    code: 'DEMO_NOT_KEPT',
    message: `no demo was kept in ${dir}`,
    remedy: 'Run one: deltaferry demo --keep',
  });
}

/** A few rows of what is there, read by the adapters of the service: nothing else has to be installed. */
export function lookAt(part: Part, config: Config): Promise<Look> {
  const table = config.tables[0]!;
  switch (part) {
    case 'kafka':
      return records(config, table);
    case 'registry':
      return schemas(config, table);
    case 'postgres':
      return versions(config, table);
    case 'delta':
      return rows(config, table);
    default:
      return part satisfies never;
  }
}

async function records(config: Config, table: TableConfig): Promise<Look> {
  const { topic } = table;
  // It reads any topic whose records are small.
  const reader = createDeadLetterReader({ kafka: openKafka(kafkaOptions(config)), topic });
  const { found } = await reader.newest(ROWS, (record) => record);
  const decoded = await Promise.all(
    found.map(async (record) => ({ record, value: await decodedValue(record, config, table) })),
  );
  return {
    title: `The newest ${found.length} records of topic ${topic}:`,
    rows: decoded.map(({ record: { partition, offset, key }, value }) => {
      const change = value.form === 'change' ? (value.change as Record<string, unknown>) : {};
      return {
        record: `${partition}:${offset}`,
        key: key === null ? '' : Buffer.from(key).toString('utf8'),
        op: textOf(change['op']),
        origin: textOf(change['origin']),
        time: textOf(change['ts']),
        'before → after': `${textOf(change['before'])} → ${textOf(change['after'])}`,
      };
    }),
  };
}

async function schemas(config: Config, { topic }: TableConfig): Promise<Look> {
  const subject = subjectOf(topic);
  const registry = createSchemaRegistry(registryOptions(config));
  try {
    const [found, compatibility] = await Promise.all([
      registry.latest(subject),
      registry.compatibility(subject),
    ]);
    const fields = ((found?.schema ?? {}) as { fields?: readonly { name: string; type: unknown }[] }).fields;
    return {
      title: `Subject ${subject}: version ${found?.version}, id ${found?.id}, compatibility ${compatibility}:`,
      rows: (fields ?? []).map(({ name, type }) => ({ field: name, type: textOf(type) })),
    };
  } finally {
    registry.close();
  }
}

async function versions(config: Config, { postgres }: TableConfig): Promise<Look> {
  const pool = openPool({ ...postgresOptions(config), applicationName: 'deltaferry demo' });
  try {
    const found = await pool.query<Record<string, unknown>>(
      `SELECT * FROM ${quoteQualified(postgres.table)} ORDER BY emp_id, on_date LIMIT ${ROWS}`,
    );
    return {
      title: `The first ${found.rows.length} versions of ${postgres.table}:`,
      rows: textRows(found.rows),
    };
  } finally {
    await pool.end();
  }
}

async function rows(config: Config, { delta }: TableConfig): Promise<Look> {
  const warehouse = openDatabricks(databricksOptions(config));
  try {
    const sql = `SELECT * FROM ${quoteDatabricksQualified(delta.table)} ORDER BY emp_id LIMIT ${ROWS}`;
    const found = await warehouse.query({ doing: 'looking at the table', table: delta.table, sql });
    return { title: `The first ${found.length} rows of ${delta.table}:`, rows: textRows(found) };
  } finally {
    await warehouse.close();
  }
}

const textRows = (found: readonly Readonly<Record<string, unknown>>[]): Record<string, string>[] =>
  found.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, textOf(value)])));

function textOf(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value;
  return typeof value === 'bigint' ? String(value) : JSON.stringify(value);
}
