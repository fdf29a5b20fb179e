import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { epochsTableOf } from '../../../src/connections/databricks/merge-epoch.ts';
import { mergeSql } from '../../../src/connections/databricks/merge-sql.ts';
import type { TableMapping } from '../../../src/change/table.ts';

const mapping: TableMapping = {
  name: 'odd',
  key: ['id', 'day'],
  columns: [
    { name: 'id', type: { name: 'uuid' } },
    { name: 'day', type: { name: 'date' } },
    { name: 'we`ird', type: { name: 'numeric', precision: 38, scale: 0 } },
  ],
};
const options = { mapping, table: 'cat.hr.t', epochs: epochsTableOf('cat.hr.t') };

describe('the MERGE', () => {
  const sql = mergeSql(options, null);

  it('compares each key column as its type, and a uuid whatever its case in Delta', () => {
    assert.match(sql, / ON lower\(t\.`id`\) = s\.c0 AND t\.`day` = s\.c1 AND s\.ferry = :ferry WHEN /);
  });

  it('writes mapped columns only, and never changes a key', () => {
    assert.match(sql, /WHEN MATCHED THEN UPDATE SET t\.`we``ird` = s\.c2 WHEN NOT MATCHED/);
    assert.match(sql, /INSERT \(`id`, `day`, `we``ird`\) VALUES \(s\.c0, s\.c1, s\.c2\)$/);
  });

  it('has no update where there are key columns only', () => {
    const keysOnly = { ...mapping, columns: mapping.columns.slice(0, 2) };
    assert.doesNotMatch(mergeSql({ ...options, mapping: keysOnly }, null), /UPDATE/);
  });

  it('has an empty source in any other epoch', () => {
    assert.match(
      sql,
      /FROM `cat`\.`hr`\.`deltaferry_epochs` AS e WHERE e\.sink = :sink AND e\.epoch = :epoch/,
    );
  });

  it('reads a staged file as text, so that nothing is inferred, and fails at a line that it cannot read', () => {
    const staged = mergeSql(options, '/Volumes/a/b/c/x.jsonl');
    assert.match(staged, /FROM text\.`\/Volumes\/a\/b\/c\/x\.jsonl`/);
    for (const each of [sql, staged]) assert.match(each, /map\('mode', 'FAILFAST'\)/);
  });

  it('the table of epochs lies beside the target, whatever its schema is called', () => {
    assert.equal(epochsTableOf('hr.t'), '`hr`.deltaferry_epochs');
    assert.equal(epochsTableOf('cat.`odd.schema`.t'), '`cat`.`odd.schema`.deltaferry_epochs');
  });
});
