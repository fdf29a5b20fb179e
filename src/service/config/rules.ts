import type { z } from 'zod';
import { keyTypes } from './key-types.ts';
import { nearest } from './nearest.ts';

/**
 * Rules that span several fields. They run beside the field rules, so that one report lists every
 * problem; a field that does not fit its own rule is looked at as if it were absent.
 */
type Context = z.core.$RefinementCtx<unknown>;

export function tableRules(table: unknown, context: Context): void {
  const columns = listAt(table, 'columns');
  const names = columns.map((column) => textAt(column, 'name'));
  for (const [at, name] of duplicates(names))
    problem(context, ['columns', at, 'name'], `a second column "${name}"`);

  const key = listAt(table, 'key').map((name) => (typeof name === 'string' ? name : undefined));
  for (const [at, name] of duplicates(key)) problem(context, ['key', at], `"${name}" is in the key twice`);
  for (const [at, name] of key.entries()) {
    if (name === undefined || columns.length === 0) continue;
    const column = columns[names.indexOf(name)];
    if (column === undefined) {
      const known = names.filter((known) => known !== undefined);
      problem(context, ['key', at], `"${name}" is not among the columns${didYouMean(nearest(name, known))}`);
    } else {
      const type = textAt(valueAt(column, 'type'), 'name');
      if (type !== undefined && !keyTypes.includes(type))
        problem(
          context,
          ['key', at],
          `"${name}" is ${type}, and a key column must be one of ${keyTypes.join(', ')}`,
        );
    }
  }

  const target = valueAt(table, 'postgres');
  if (textAt(target, 'history') === 'plain') {
    if (textAt(table, 'direction') !== 'postgres-to-delta')
      problem(
        context,
        ['postgres', 'history'],
        'a plain table can only be a source: set direction: postgres-to-delta, or history: scd2',
      );
    return;
  }
  const fields = ['onDate', 'offDate', 'isActive'];
  const own = fields.map((field) => textAt(target, field));
  for (const [at, name] of own.entries())
    if (name !== undefined && names.includes(name))
      problem(
        context,
        ['postgres', fields[at]!],
        `"${name}" is among the columns; the history needs it for itself`,
      );
  for (const [at, name] of duplicates(own))
    problem(context, ['postgres', fields[at]!], `"${name}" is the name of another column of the history`);
}

export function tablesRules(tables: unknown, context: Context): void {
  const list = Array.isArray(tables) ? (tables as readonly unknown[]) : [];
  const unique = (path: readonly string[], of: (table: unknown) => string | undefined) => {
    for (const [at, name, first] of duplicates(list.map(of)))
      problem(context, [at, ...path], `tables[${first}] has "${name}" too`);
  };
  unique(['name'], (table) => textAt(table, 'name'));
  const topics = list.map(topicOf);
  unique(['topic'], topicOf);
  unique(['postgres', 'table'], (table) => textAt(valueAt(table, 'postgres'), 'table'));
  unique(['delta', 'table'], (table) => textAt(valueAt(table, 'delta'), 'table'));
  for (const [at, topic] of topics.entries()) {
    const other = topics.findIndex((other) => topic !== undefined && topic === `${other}.dead-letters`);
    if (other >= 0)
      problem(context, [at, 'topic'], `"${topic}" is the dead-letter topic of tables[${other}]`);
  }
  unique(['backfillTopic'], backfillTopicOf);
  for (const [at, loads] of list.map(backfillTopicOf).entries()) {
    const other = topics.findIndex(
      (topic) => topic !== undefined && (loads === topic || loads === `${topic}.dead-letters`),
    );
    if (other >= 0) problem(context, [at, 'backfillTopic'], `"${loads}" is a topic of tables[${other}]`);
  }
}

export function registryRules(registry: unknown, context: Context): void {
  if (valueAt(registry, 'auth') !== undefined && valueAt(registry, 'token') !== undefined)
    problem(context, ['token'], 'only one of registry.auth and registry.token can be set');
}

export function databricksRules(databricks: unknown, context: Context): void {
  const token = valueAt(databricks, 'token') !== undefined;
  const oauth = valueAt(databricks, 'oauth') !== undefined;
  if (token && oauth)
    problem(context, ['token'], 'only one of databricks.token and databricks.oauth can be set');
  if (!token && !oauth) problem(context, ['token'], 'required, unless databricks.oauth is set');
}

export function tlsRules(tls: unknown, context: Context): void {
  const cert = valueAt(tls, 'certFile') !== undefined;
  const key = valueAt(tls, 'keyFile') !== undefined;
  if (cert && !key) problem(context, ['keyFile'], 'required where certFile is set');
  if (key && !cert) problem(context, ['certFile'], 'required where keyFile is set');
}

export function pollingRules(polling: unknown, context: Context): void {
  const least = valueAt(polling, 'minMs');
  const most = valueAt(polling, 'maxMs');
  if (typeof least === 'number' && typeof most === 'number' && least > most)
    problem(context, ['minMs'], 'must not be above polling.maxMs');
}

export function configRules(config: unknown, context: Context): void {
  const postgres = textAt(valueAt(config, 'postgres'), 'id');
  if (postgres !== undefined && postgres === textAt(valueAt(config, 'databricks'), 'id'))
    problem(
      context,
      ['postgres', 'id'],
      `databricks.id is "${postgres}" too; every system needs an id of its own`,
    );
  const positions = textAt(valueAt(config, 'topics'), 'positions');
  const clash = listAt(config, 'tables').findIndex((table) => {
    const topic = topicOf(table);
    return (
      topic !== undefined &&
      [topic, `${topic}.dead-letters`, backfillTopicOf(table)].some((own) => own === positions)
    );
  });
  if (clash >= 0) problem(context, ['topics', 'positions'], `"${positions}" is a topic of tables[${clash}]`);
}

export function didYouMean(name: string | undefined): string {
  return name === undefined ? '' : `; did you mean ${name}?`;
}

function problem(context: Context, path: (string | number)[], message: string): void {
  context.addIssue({ code: 'custom', path, message });
}

/** Every occurrence but the first: its index, the name, and the first one's index. */
function duplicates(names: readonly (string | undefined)[]): (readonly [number, string, number])[] {
  return names.flatMap((name, at) => {
    const first = names.indexOf(name);
    return name === undefined || first === at ? [] : [[at, name, first] as const];
  });
}

function topicOf(table: unknown): string | undefined {
  const name = textAt(table, 'name');
  return textAt(table, 'topic') ?? (name === undefined ? undefined : `${name}_changes`);
}

function backfillTopicOf(table: unknown): string | undefined {
  const name = textAt(table, 'name');
  return textAt(table, 'backfillTopic') ?? (name === undefined ? undefined : `${name}_backfill`);
}

function valueAt(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function textAt(value: unknown, name: string): string | undefined {
  const found = valueAt(value, name);
  return typeof found === 'string' ? found : undefined;
}

function listAt(value: unknown, name: string): readonly unknown[] {
  const found = valueAt(value, name);
  return Array.isArray(found) ? found : [];
}
