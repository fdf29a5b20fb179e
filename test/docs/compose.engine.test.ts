import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { after, it } from 'node:test';
import { parse } from 'yaml';
import { openDatabricks } from '../../src/connections/databricks/client.ts';
import { createDeltaTables } from '../../src/connections/databricks/delta-table.ts';
import { testStack } from '../support/stack.ts';
import { inTree, text } from './tree.ts';

const schema = `compose_${randomBytes(4).toString('hex')}`;
const { databricks } = testStack();
const client = openDatabricks(databricks);
const run = (sql: string) => client.query({ sql, doing: 'preparing a test' });
after(async () => {
  await run(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await client.close();
});

it('the Delta table of docker-compose.yml is created by its script, by the names of its environment', async () => {
  const compose = parse(text('docker-compose.yml'), { merge: true }) as {
    services: { employees: { entrypoint: string[]; command: string[]; environment: Record<string, string> } };
  };
  const { entrypoint, command, environment } = compose.services.employees;
  await run(`CREATE SCHEMA ${schema}`);
  const own: Record<string, string> = {
    DELTAFERRY_DATABRICKS_HOST: databricks.host,
    DELTAFERRY_DATABRICKS_PORT: String(databricks.port),
    DELTAFERRY_DATABRICKS_PATH: databricks.path,
    DELTAFERRY_DATABRICKS_TOKEN: databricks.token,
    DELTAFERRY_DATABRICKS_CA_FILE: databricks.caFile,
    DELTAFERRY_POSTGRES_URL: testStack().postgres.url,
  };
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      ...entrypoint.slice(1),
      ...command.map((word) => word.replaceAll('default.employees', `${schema}.employees`)),
    ],
    { cwd: inTree('.'), encoding: 'utf8', env: { ...process.env, ...environment, ...own } },
  );
  assert.equal(status, 0, stderr);
  const facts = await createDeltaTables(client).describe(`${schema}.employees`);
  assert.deepEqual(
    facts?.columns.map(({ name }) => name),
    ['emp_id', 'name', 'salary'],
  );
  assert.equal(facts?.properties['delta.enableChangeDataFeed'], 'true');
});
