import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { checkKeyColumns } from '../../src/change/key.ts';
import { parseColumnType } from '../../src/change/types.ts';
import { envNameOf, pathText, settableFields, type Node } from '../../src/service/config/fields.ts';
import { keyTypes } from '../../src/service/config/key-types.ts';
import { loadConfig } from '../../src/service/config/load.ts';
import { nearest } from '../../src/service/config/nearest.ts';
import { configReference } from '../../src/service/config/reference.ts';
import { configTree } from '../../src/service/config/schema.ts';
import { inFolder } from './config-cases.ts';

const inRepository = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

test('docs/CONFIGURATION.md is what the schema says (deltaferry config reference > docs/CONFIGURATION.md)', () => {
  assert.equal(inRepository('docs/CONFIGURATION.md'), configReference());
});

test('every field is described', () => {
  const bare = (path: string, node: Node): string[] => [
    ...(node.note.description === '' ? [path] : []),
    ...(node.kind === 'map'
      ? [...node.fields].flatMap(([name, field]) => bare(`${path}.${name}`, field))
      : []),
    ...(node.kind === 'list' && node.item.kind === 'map'
      ? bare(`${path}[]`, { ...node.item, note: node.note })
      : []),
  ];
  assert.deepEqual(
    [...configTree.fields].flatMap(([name, node]) => bare(name, node)),
    [],
  );
});

test('no two fields share an environment variable', () => {
  const names = settableFields(configTree).map(([path]) => envNameOf(path));
  assert.equal(new Set(names).size, names.length);
  assert.equal(
    envNameOf(['batching', 'maxBytesPerPartition']),
    'DELTAFERRY_BATCHING_MAX_BYTES_PER_PARTITION',
  );
});

test('the default deltaferry.yaml is valid, also with every documented example switched on', async () => {
  const text = inRepository('deltaferry.yaml');
  const examples = text
    .replaceAll(/^# ( *- |(?: {2})*\w+:)/gm, '$1')
    .replace('{ file: /run/secrets/registry-password }', 'secret')
    .replace('/etc/ssl/certs/postgres-ca.pem', '/dev/null');
  assert.ok('kafka' in (parse(examples) as object));
  const env = { KAFKA_PASSWORD: 'k', POSTGRES_PASSWORD: 'p', DATABRICKS_CLIENT_SECRET: 'd' };
  const config = await inFolder({ 'deltaferry.yaml': examples }, (cwd) => loadConfig({ cwd, env }));
  assert.equal(config.postgres.url, 'postgres://deltaferry:p@db.example.com:5432/hr');
  assert.equal(config.http.host, '0.0.0.0');
  assert.deepEqual(Object.keys(parse(text) as object), ['tables']);
});

test('the key types that the configuration takes are those that a record key takes', () => {
  const all = [
    'boolean',
    'smallint',
    'integer',
    'bigint',
    'numeric(9,2)',
    'real',
    'double precision',
    'text',
    'varchar(9)',
  ];
  const types = [...all, 'date', 'timestamp', 'timestamptz', 'uuid', 'bytea', 'jsonb', 'enum(mood)'].map(
    parseColumnType,
  );
  for (const type of types) {
    const check = () => checkKeyColumns({ name: 't', key: ['k'], columns: [{ name: 'k', type }] });
    if (keyTypes.includes(type.name)) assert.doesNotThrow(check);
    else assert.throws(check, /key/);
  }
});

const slips = [
  ['broker', 'brokers'],
  ['client_id', 'clientId'],
  ['client-id', 'clientId'],
  ['tsl', 'tls'],
  ['pass', 'password'],
  ['banana', undefined],
] as const;

for (const [written, meant] of slips)
  test(`nearest: ${written} → ${meant}`, () => {
    assert.equal(nearest(written, ['brokers', 'clientId', 'tls', 'sasl', 'password']), meant);
  });

test('paths are written as errors show them', () => {
  assert.equal(pathText(['tables', 0, 'columns', 2, 'type']), 'tables[0].columns[2].type');
});
