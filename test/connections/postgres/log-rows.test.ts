import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logRowReader } from '../../../src/connections/postgres/log-rows.ts';
import { mappingOf } from './captured.ts';

test('a column that is newer than the log row is null, whatever it is called', () => {
  const names = ['constructor', '__proto__', 'toString', 'plain'];
  const mapping = mappingOf('t', ['id'], {
    id: 'bigint',
    ...Object.fromEntries(names.map((name) => [name, 'text'])),
  });
  const after = JSON.stringify({ id: '1' });
  const read = logRowReader({ mapping, origin: 'postgres' });
  const outcome = read({ changeId: 1n, xid: 1n, ts: 1, key: '1', before: null, after, size: 0 });
  assert.ok(outcome.kind === 'change');
  assert.deepEqual(
    outcome.change.after,
    mapping.columns.map(({ name }) => (name === 'id' ? 1 : null)),
  );
});
