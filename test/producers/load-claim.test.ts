import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OperatorError } from '../../src/errors.ts';
import { progressPosition } from '../../src/flow/load-manifest.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import type { Load } from '../../src/ports/load.ts';
import { runBackfill } from '../../src/producers/backfill.ts';
import type { BackfillDeps, BackfillMode } from '../../src/producers/backfill-deps.ts';
import { claimTopic, explained, noteOver, openedFor } from '../../src/producers/load-claim.ts';
import { beginningDeps, ENOUGH } from './beginning.ts';
import { FakeTopic } from './fake-log.ts';

const signal = AbortSignal.timeout(10_000);
const SOME = { parts: 3, at: null, rows: 30, rejected: 0 };
const OTHERS = progressPosition({ load: 'load-0', postgresId: 'replica' }, SOME);

/** Another target's process, in the midst of its load. */
async function publishing(topic: FakeTopic): Promise<ChangeLog> {
  const log = topic.log();
  await log.open();
  await log.publish({ changes: [], rejected: [], position: OTHERS });
  return log;
}

const goesOn = (log: ChangeLog): Promise<void> =>
  log.publish({ changes: [], rejected: [], position: OTHERS });

async function begins(deps: BackfillDeps, mode: BackfillMode = 'new'): Promise<void> {
  await assert.rejects(runBackfill(deps, mode, signal), ENOUGH);
}

function isRefused(error: unknown): boolean {
  assert.ok(error instanceof OperatorError, String(error));
  assert.equal(error.code, 'LOAD_OTHER_TARGET');
  assert.match(error.message, /The load load-0 of employees, begun by target replica, is unfinished/);
  assert.match(error.remedy ?? '', /--resume.*--give-up.*backfill employees --restart/);
  return true;
}

describe('loads of one table by two targets', () => {
  it('a second is refused, naming the first and its target, and the first is not disturbed', async () => {
    const topic = new FakeTopic();
    const first = await publishing(topic);
    const begun: unknown[] = [];
    const deps = beginningDeps({ topic, loads: { begin: async (order: unknown) => void begun.push(order) } });
    await assert.rejects(runBackfill(deps, 'new', signal), isRefused);
    assert.deepEqual(begun, []);
    await goesOn(first);
  });

  it('is refused also where the first began in the moment between looking and opening', async () => {
    const topic = new FakeTopic();
    await publishing(topic);
    const deps = beginningDeps({ topic, topics: { newestLoad: async () => null } });
    await assert.rejects(runBackfill(deps, 'new', signal), isRefused);
    assert.equal(topic.position, OTHERS, 'the first finds its place as it was');
  });

  it('is refused, too, where the first fences it before it is announced', async () => {
    const topic = new FakeTopic();
    let looks = 0;
    const newestLoad = async () => (looks++ === 0 ? null : topic.position);
    const deps = beginningDeps({ topic, topics: { newestLoad } });
    const { log } = deps;
    let opened = false;
    const fenced: ChangeLog = {
      ...log,
      async open() {
        const position = await log.open();
        if (!opened) await publishing(topic);
        opened = true;
        return position;
      },
    };
    await assert.rejects(runBackfill({ ...deps, log: fenced }, 'new', signal), isRefused);
  });

  it('with --restart takes the place of the first, which then ends, and fences nobody for ever', async () => {
    const topic = new FakeTopic();
    const first = await publishing(topic);
    const deps = beginningDeps({ topic });
    await begins(deps, 'restart');
    assert.deepEqual(topic.position, {
      load: 'load-1',
      parts: 0,
      at: null,
      rows: 0,
      rejected: 0,
      postgresId: 'postgres',
      needed: 1,
    });
    await assert.rejects(goesOn(first), { code: 'FENCED' });
    await assert.rejects(openedFor({ ...deps, log: first }, 'load-0'), { code: 'LOAD_TOPIC_REPLACED' });
    assert.equal((await openedFor(deps, 'load-1'))['load'], 'load-1');
  });

  it('may begin once the first has all its records, or is given up', async () => {
    const topic = new FakeTopic();
    const log = await publishing(topic);
    const other = { ...beginningDeps({ topic, postgresId: 'replica' }), log };
    await noteOver(other, 'load-0');
    assert.deepEqual(topic.position, { ...OTHERS, needed: 0 }, 'what was published stays known');
    await begins(beginningDeps({ topic }));
  });

  it('of a target itself go by what that knows: one that was never begun there holds nobody up', async () => {
    const topic = new FakeTopic();
    await begins(beginningDeps({ topic }));
    await begins(beginningDeps({ topic, id: 'load-2' }));
    assert.equal(topic.position?.['load'], 'load-2');
  });

  it('given up, is noted so for others; not once another has taken its place', async () => {
    const topic = new FakeTopic();
    const load = { id: 'load-1', source: 'delta', phase: 'snapshot' } as Load;
    const deps = beginningDeps({
      topic,
      loads: { newest: async () => load, giveUp: async () => {} },
      source: { tidy: async () => {} },
    });
    await claimTopic(deps, 'load-1', 'new', signal);
    await runBackfill(deps, 'give-up', signal);
    assert.equal(topic.position?.['needed'], 0);

    const other = await publishing(topic);
    await runBackfill(deps, 'give-up', signal);
    await goesOn(other);
    assert.equal(topic.position, OTHERS);
  });

  it('names the load that has replaced records, where some are missing', async () => {
    const topic = new FakeTopic();
    const deps = beginningDeps({ topic });
    const missing = new OperatorError({ code: 'LOAD_INCOMPLETE', message: 'rows are missing' });
    const load = { id: 'load-1', source: 'delta' } as Load;
    await claimTopic(deps, 'load-1', 'new', signal);
    assert.equal(await explained(deps, load, missing), missing);
    topic.position = OTHERS;
    assert.equal(await explained(deps, load, ENOUGH), ENOUGH);
    const why = await explained(deps, load, missing);
    assert.equal((why as OperatorError).code, 'LOAD_TOPIC_REPLACED');
    assert.match((why as OperatorError).message, /load-0 of employees, begun by target replica/);
  });
});
