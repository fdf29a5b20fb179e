import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Plan } from '../../src/setup/plan.ts';
import type { SetupRequest, SetupTable } from '../../src/setup/request.ts';
import { plainFacts, plainTable, steps } from './captured.ts';
import { capturedRequest, employees, goodDelta, goodEpochs, uncaptured } from './existing-things.ts';
import { expectTexts } from './step-texts.ts';

describe('the Delta side of a captured table', () => {
  const delta = (plan: Plan) => plan.filter(({ what }) => what.startsWith('Delta'));
  const onlyTarget: SetupRequest = {
    tables: [{ ...plainTable, deltaTable: 'default.employees', deltaIsRead: false }],
  };

  it('is created with what the merge needs', () => {
    const plan = delta(steps(capturedRequest, uncaptured, { deltas: new Map() }));
    expectTexts(plan, [
      'create Delta table default.employees: change data feed on',
      'create Delta table default.deltaferry_epochs: epochs of the sinks',
    ]);
    assert.match(
      plan[0]?.sql?.[0] ?? '',
      /^CREATE TABLE IF NOT EXISTS `default`.`employees` \(.*'delta.enableChangeDataFeed' = 'true'/,
    );
    assert.equal(
      plan[1]?.sql?.[0],
      'CREATE TABLE IF NOT EXISTS `default`.`deltaferry_epochs` (sink STRING, epoch BIGINT) USING DELTA',
    );
  });

  it('has one table of epochs for every schema', () => {
    const table = (name: string, deltaTable: string): SetupTable => ({
      ...plainTable,
      mapping: { ...employees, name },
      topic: name,
      deltaTable,
    });
    const wanted = { tables: [table('a', 'main.hr.a'), table('b', 'main.hr.b'), table('c', 'main.`o.d`.c')] };
    const plan = delta(steps(wanted, uncaptured, { deltas: new Map() })).filter(({ what }) =>
      what.endsWith('epochs'),
    );
    assert.deepEqual(
      plan.map(({ what }) => what),
      ['Delta table main.hr.deltaferry_epochs', 'Delta table main.`o.d`.deltaferry_epochs'],
    );
  });

  it('is not the table of epochs of somebody else', () => {
    const other = { ...goodEpochs, columns: [{ name: 'sink', type: 'string' }] };
    const deltas = new Map([
      ['default.employees', goodDelta],
      ['default.deltaferry_epochs', other],
    ]);
    expectTexts(delta(steps(capturedRequest, uncaptured, { deltas })).slice(1), [
      /^mismatch Delta table default.deltaferry_epochs: is a delta table \(sink string\), .* wanted/,
    ]);
  });

  it('needs no change data feed where it is only merged into, and must hold what is merged', () => {
    const quiet = { ...goodDelta, properties: {} };
    const of = (table: typeof goodDelta) =>
      new Map([
        ['default.employees', table],
        ['default.deltaferry_epochs', goodEpochs],
      ]);
    expectTexts(delta(steps(onlyTarget, plainFacts, { deltas: of(quiet) })).slice(0, 1), [
      'ok Delta table default.employees: columns and types fit',
    ]);
    const wide = {
      ...quiet,
      columns: [quiet.columns[0]!, quiet.columns[1]!, { name: 'salary', type: 'decimal(14,2)' }],
    };
    expectTexts(delta(steps(onlyTarget, plainFacts, { deltas: of(wide) })).slice(0, 1), [/^ok /]);
    const narrow = {
      ...quiet,
      columns: [{ name: 'emp_id', type: 'int' }, quiet.columns[1]!, quiet.columns[2]!],
    };
    expectTexts(delta(steps(onlyTarget, plainFacts, { deltas: of(narrow) })).slice(0, 1), [
      /^mismatch .*: column emp_id is INT, BIGINT wanted/,
    ]);
    // Both ways nothing may be lost in either.
    expectTexts(
      delta(
        steps(capturedRequest, uncaptured, { deltas: of({ ...narrow, properties: goodDelta.properties }) }),
      ).slice(0, 1),
      [/^mismatch .*: column emp_id is INT/],
    );
    expectTexts(delta(steps(capturedRequest, uncaptured, { deltas: of(quiet) })).slice(0, 1), [
      /^mismatch .*: its change data feed is off/,
    ]);
  });
});
