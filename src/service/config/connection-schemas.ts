import { z } from 'zod';
import { noted } from './fields.ts';
import { tlsRules } from './rules.ts';
import { hasStrayAt } from './url-credentials.ts';

const text = () => z.string().min(1);
/** Rules over several fields run even where a field alone does not fit: one report lists everything. */
const always = { when: () => true };

/** A list that may be written as one text with commas, as environment variables have to. */
const listOf = (item: z.ZodString) =>
  z.preprocess(
    (value) => (typeof value === 'string' ? value.split(',').map((part) => part.trim()) : value),
    z.array(item).min(1),
  );

const secret = (description: string) => noted(text(), description, { secret: 'whole' });
/** It travels in an HTTP header, where a line break of the file that it came from, say, is refused. */
const bearerToken = (description: string) =>
  noted(
    z
      .string()
      .regex(/^[\x20-\x7e]+$/, { error: 'must hold printable ASCII characters only, and no line break' })
      .exactOptional(),
    description,
    { secret: 'whole' },
  );
const pemFile = (description: string) => noted(text().exactOptional(), description, { file: true });

const authorityFile = () =>
  pemFile(
    'PEM file of the authority to trust, and no other; without it those of the system and of Node are trusted.',
  );

function tls(of: string) {
  const fields = z.strictObject({
    enabled: noted(z.boolean().exactOptional(), `Whether to speak TLS with ${of}.`, {
      defaultText: '`true` once another field of `tls` is set, else `false`',
    }),
    caFile: authorityFile(),
    certFile: pemFile('PEM file of the client certificate, for mutual TLS.'),
    keyFile: pemFile('PEM file of the client certificate’s key.'),
    rejectUnauthorized: noted(
      z.boolean().exactOptional(),
      'Whether a certificate that cannot be verified is refused. Only `false` in a laboratory.',
      { defaultText: '`true`' },
    ),
  });
  return fields
    .superRefine(tlsRules, always)
    .prefault({})
    .transform(({ enabled, rejectUnauthorized, ...files }) => ({
      enabled: enabled ?? (rejectUnauthorized !== undefined || Object.keys(files).length > 0),
      rejectUnauthorized: rejectUnauthorized ?? true,
      ...files,
    }));
}

const httpUrl = text().refine(
  (value) => {
    const url = URL.canParse(value) ? new URL(value) : undefined;
    return url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
  },
  {
    error:
      'must be an http:// or https:// URL without a user name or password (they belong in registry.auth)',
  },
);

const postgresUrl = text().superRefine((value, context) => {
  const isUrl = URL.canParse(value) && /^postgres(ql)?:$/.test(new URL(value).protocol);
  if (isUrl && !hasStrayAt(value)) return;
  const message = 'must be a URL such as postgres://user:password@host:5432/database';
  const remedy =
    '; percent-encode @ : / ? # in user and password (what ${VARIABLE} puts there is), and @ elsewhere';
  context.addIssue({ code: 'custom', message: value.includes('@') ? message + remedy : message });
});

const originId = z.string().regex(/^[A-Za-z][\w-]{0,62}$/, {
  error: 'must begin with a letter and hold only letters, digits, - and _',
});

export const kafka = z.strictObject({
  brokers: noted(
    listOf(
      z.string().regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/, {
        error: 'must be host:port, without a protocol',
      }),
    ),
    'Bootstrap brokers.',
    { example: '[broker-1.example.com:9092, broker-2.example.com:9092]' },
  ),
  clientId: noted(text().default('deltaferry'), 'Name in the brokers’ logs and quotas.'),
  tls: noted(tls('the brokers'), 'Transport security.'),
  sasl: noted(
    z
      .strictObject({
        mechanism: noted(z.enum(['plain', 'scram-sha-256', 'scram-sha-512']), 'How to log in.'),
        username: noted(text(), 'User name.', { example: 'deltaferry' }),
        password: secret('Password.'),
      })
      .exactOptional(),
    'Login; without it none is made.',
  ),
});

export const registry = z.strictObject({
  url: noted(httpUrl, 'Schema registry with the Confluent API.', { example: 'https://registry.example.com' }),
  auth: noted(
    z
      .strictObject({
        username: noted(text(), 'User name, or API key.'),
        password: secret('Password, or API secret.'),
      })
      .exactOptional(),
    'Basic authentication.',
  ),
  token: bearerToken('Bearer token, in place of `auth`.'),
  caFile: authorityFile(),
});

export const postgres = z.strictObject({
  id: noted(
    originId.default('postgres'),
    'Origin id: names this database in every change made there and in its consumer group. Two databases never share one.',
  ),
  url: noted(
    postgresUrl,
    'Connection URL. The service holds a lock per table on a direct connection: no transaction pooler in between. ' +
      'Settings in it (`?options=-c%20search_path%3Dhr`) are kept but where they are Deltaferry’s to set, such as every timeout.',
    {
      secret: 'url',
      example: 'postgres://deltaferry:${POSTGRES_PASSWORD}@db.example.com:5432/hr',
    },
  ),
  tls: noted(tls('Postgres'), 'Transport security.'),
});

export const databricks = z.strictObject({
  id: noted(originId.default('delta'), 'Origin id: names this workspace in every change made there.'),
  host: noted(
    z.string().regex(/^[A-Za-z0-9.-]+$/, { error: 'must be a host name alone, without https:// and path' }),
    'Server host name of the SQL warehouse or cluster.',
    { example: 'adb-1234567890123456.7.azuredatabricks.net' },
  ),
  port: noted(z.int().min(1).max(65_535).default(443), 'HTTPS port.'),
  path: noted(
    z.string().regex(/^\//, { error: 'must begin with /' }),
    'HTTP path of the SQL warehouse or cluster.',
    {
      example: '/sql/1.0/warehouses/abcdef1234567890',
    },
  ),
  token: bearerToken('Personal access token.'),
  oauth: noted(
    z
      .strictObject({
        clientId: noted(text(), 'Application id of the service principal.'),
        clientSecret: secret('Its OAuth secret.'),
      })
      .exactOptional(),
    'Service principal, in place of `token`.',
  ),
  caFile: pemFile(
    'PEM file of an authority to trust beside those that Node brings along; without it those of the system are trusted, too.',
  ),
  stagingVolume: noted(
    z
      .string()
      .regex(/^\/Volumes(\/[A-Za-z0-9_.-]+){3,}$/, {
        error: 'must be a path in a volume: /Volumes/<catalog>/<schema>/<volume>, without a slash at the end',
      })
      .exactOptional(),
    'Folder of a Unity Catalog volume where large merges are staged; without it their rows travel in the statements.',
    { example: '/Volumes/main/hr/deltaferry' },
  ),
});
