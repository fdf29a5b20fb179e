import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPostgresHistory } from '../../src/consumers/postgres-history.ts';
import type { PartitionState } from '../../src/consumers/partition-state.ts';
import { HeldByLoadError, type HistorySink } from '../../src/ports/history-sink.ts';
import { batchOf, EMPLOYEES, fakeDeadLetters, fakeHistory, NOW, record, schemas } from './fakes.ts';

test('a partition waits while a load fills the table, says so once and not as a failure, then goes on', async () => {
  const history = fakeHistory();
  let held = true;
  const sink: HistorySink = {
    ...history,
    claim: (...args) => history.claim(...args),
    apply: async (batch) => {
      if (held) throw new HeldByLoadError('load-1', 'Partition 0');
      return await history.apply(batch);
    },
  };
  const states: PartitionState[] = [];
  const deadLetters = fakeDeadLetters();
  const handler = createPostgresHistory({
    topic: 'employees_changes',
    table: EMPLOYEES,
    origin: 'postgres',
    sink,
    deadLetters,
    schemas,
    now: () => NOW,
    random: () => 0.5,
    onState: (_, state) => states.push(state),
  });
  await handler.assigned(new Map([[0, { low: 0n, high: 10n }]]));
  const batch = batchOf([record('good', 0, 0)], 0n, 1n);
  for (let time = 0; time < 3; time++)
    assert.deepEqual(await handler.batch(batch, () => Promise.resolve()), { kind: 'pause', ms: 500 });
  held = false;
  assert.deepEqual(await handler.batch(batch, () => Promise.resolve()), { kind: 'done', next: 1n });
  assert.deepEqual(
    states.map(({ kind }) => kind),
    ['running', 'waiting for a load', 'running'],
  );
  assert.equal(deadLetters.letters?.length ?? 0, 0);
});
