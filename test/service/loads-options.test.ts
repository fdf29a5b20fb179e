import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Config } from '../../src/service/config/schema.ts';
import type { TableConfig } from '../../src/service/config/table-schema.ts';
import { isMergeGroup, mergeGroup } from '../../src/service/loads-options.ts';

const table = { name: 'employees' } as TableConfig;
const configOf = (postgres: string, databricks = 'delta'): Config =>
  ({ databricks: { id: databricks }, postgres: { id: postgres } }) as Config;

it('a group that merges the table into this Delta is known by its name, whoever’s it is', () => {
  const config = configOf('replica');
  const is = (group: string): boolean => isMergeGroup(config, table, group);
  for (const postgres of ['postgres', 'replica', 'pg-2_b'])
    assert.ok(is(mergeGroup(configOf(postgres), table)), postgres);
  assert.ok(!is(mergeGroup(configOf('postgres', 'delta2'), table)), 'another Delta');
  assert.ok(!is(mergeGroup(configOf('postgres'), { ...table, name: 'employees2' })), 'another table');
  assert.ok(!is('deltaferry.postgres-history.postgres.employees'), 'another role');
  assert.ok(!is('deltaferry.delta-merge.delta.a.b.employees'));
  assert.ok(!is('console-consumer-1'));
});
