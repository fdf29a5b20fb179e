import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Config } from '../../src/service/config/schema.ts';
import { text } from '../docs/tree.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { loadWithoutTrouble } from '../support/load-here.ts';

/** Those of what `run` needs, and those of a load. */
function documented(role: string): readonly string[] {
  return [...text('docs/OPERATIONS.md').matchAll(/^```sql\n(.*?)^```$/gms)]
    .map(([, sql = '']) => sql)
    .filter((sql) => /orphan_deletes|load_files/.test(sql))
    .flatMap((sql) => sql.split(';'))
    .map((statement) => statement.trim().replace(/ TO deltaferry$/, ` TO ${role}`))
    .filter((statement) => statement.startsWith('GRANT'));
}

describe('a load with only the grants of docs/OPERATIONS.md', () => {
  const later = undoing();
  let site: Site;
  let config: Config;

  before(async () => {
    site = later(await openSite({ prefix: 'load_grants', direction: 'both' }), (made) => made.drop());
    const role = `${site.name}_role`;
    const { pool } = site;
    later(role, async () => {
      await pool.query(`drop owned by ${role} cascade`);
      await pool.query(`drop role ${role}`);
    });
    await pool.query(`create role ${role} login password 'only here'`);
    await pool.query(`revoke all on database ${site.name} from public`);
    await pool.query(`grant connect on database ${site.name} to ${role}`);
    const statements = documented(role);
    assert.equal(statements.length, 10, statements.join('\n'));
    for (const statement of statements) await pool.query(statement);
    const url = new URL(site.config.postgres.url);
    url.username = role;
    url.password = 'only here';
    config = { ...site.config, postgres: { ...site.config.postgres, url: url.href } };
    // One way only: what capture needs besides is another test's.
    config = { ...config, tables: [{ ...config.tables[0]!, direction: 'delta-to-postgres' }] };
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} VALUES (1, 'one', 1), (2, 'two', 2)`,
    });
  });

  it('fills the history, and may create nothing elsewhere', { timeout: 90_000 }, async () => {
    assert.equal((await loadWithoutTrouble(config)).rows, 2);
    const { rows } = await site.pool.query('select emp_id from employees order by emp_id');
    assert.deepEqual(rows, [{ emp_id: '1' }, { emp_id: '2' }]);
  });
});
