import { columnTypeText } from '../../change/types.ts';
import type { ColumnType } from '../../change/table.ts';
import type { Node } from './fields.ts';
import { configTree, type Config } from './schema.ts';
import { hasStrayAt, withoutCredentials, writtenPassword } from './url-credentials.ts';

const MASK = '***';

/** The configuration as one would write it, with every default and without any secret: for people and logs. */
export function redact(config: Config): Record<string, unknown> {
  return redactAt(config, configTree) as Record<string, unknown>;
}

function redactAt(value: unknown, node: Node): unknown {
  if (value === undefined || value === null) return value;
  if (node.kind === 'map')
    return Object.fromEntries(
      [...node.fields].flatMap(([name, field]) => {
        const of = (value as Record<string, unknown>)[name];
        return of === undefined ? [] : [[name, redactAt(of, field)]];
      }),
    );
  if (node.kind === 'list') return (value as readonly unknown[]).map((item) => redactAt(item, node.item));
  if (node.note.secret === 'whole') return MASK;
  if (node.note.secret === 'url') return maskUrl(value as string);
  return typeof value === 'object' ? columnTypeText(value as ColumnType) : value;
}

/** The URL without its password and without parameters that may hold one. */
export function maskUrl(text: string): string {
  if (hasStrayAt(text)) return maskUrl(withoutCredentials(text, MASK));
  if (!URL.canParse(text)) return MASK;
  const url = new URL(text);
  if (url.password !== '') url.password = MASK;
  const parameters = [...url.searchParams.keys()].filter((name) => !SHOWN_PARAMETERS.has(name));
  for (const name of parameters) url.searchParams.set(name, MASK);
  return url.href;
}

const SHOWN_PARAMETERS = new Set([
  'sslmode',
  'application_name',
  'host',
  'port',
  'dbname',
  'user',
  'options',
  'connect_timeout',
]);

/**
 * Takes the configuration's secrets out of a text. The last line of defence, for messages that come
 * from drivers: a secret that is short, or that the configuration also shows elsewhere (a password
 * `postgres` for the user `postgres`), cannot be told from ordinary words and is left.
 */
export function scrubber(config: Config): (text: string) => string {
  const shown = JSON.stringify(redact(config));
  const secrets = secretsIn(config, configTree).filter(
    (secret) => secret.length >= 8 && !shown.includes(secret),
  );
  const forms = new Set(
    secrets.flatMap((secret) => [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]),
  );
  const longestFirst = [...forms].sort((a, b) => b.length - a.length);
  return (text) => longestFirst.reduce((cleaned, secret) => cleaned.replaceAll(secret, MASK), text);
}

function secretsIn(value: unknown, node: Node): string[] {
  if (value === undefined || value === null) return [];
  if (node.kind === 'map')
    return [...node.fields].flatMap(([name, field]) =>
      secretsIn((value as Record<string, unknown>)[name], field),
    );
  if (node.kind === 'list')
    return (value as readonly unknown[]).flatMap((item) => secretsIn(item, node.item));
  if (node.note.secret === 'whole') return [value as string];
  return node.note.secret === 'url' ? secretsOfUrl(value as string) : [];
}

function secretsOfUrl(text: string): string[] {
  if (!URL.canParse(text)) return [text];
  const url = new URL(text);
  const hidden = [...url.searchParams].flatMap(([name, value]) =>
    SHOWN_PARAMETERS.has(name) ? [] : [value],
  );
  const forms = [url.password, decode(url.password), writtenPassword(text) ?? '', ...hidden];
  return forms.filter((secret) => secret !== '');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
