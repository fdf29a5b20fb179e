import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setupLines } from '../../src/setup/report.ts';
import type { SetupPorts } from '../../src/setup/ports.ts';
import { applySetup, setup } from '../../src/setup/setup.ts';
import { planSetup } from '../../src/setup/plan.ts';
import { readExisting } from '../../src/setup/existing.ts';
import { employees } from './existing-things.ts';
import { fakePorts } from './fake-ports.ts';

const request = {
  tables: [{ mapping: employees, topic: 'employees_changes', historyTable: 'public.employees' }],
};
const STEPS = 7;

/** The ports with their n-th writing call failing, before or after it took effect. */
function failingAt(ports: SetupPorts, nth: number, when: 'before' | 'after'): SetupPorts {
  let calls = 0;
  const failing =
    <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      const fails = calls++ === nth;
      if (fails && when === 'before') throw new Error('not today');
      const answer = await call(...args);
      if (fails) throw new Error('the answer was lost');
      return answer;
    };
  const { control, topics, subjects, histories } = ports;
  return {
    ...ports,
    control: { ...control, migrate: failing(control.migrate.bind(control)) },
    topics: { ...topics, create: failing(topics.create.bind(topics)) },
    subjects: {
      ...subjects,
      setCompatibility: failing(subjects.setCompatibility.bind(subjects)),
      register: failing(subjects.register.bind(subjects)),
    },
    histories: { ...histories, create: failing(histories.create.bind(histories)) },
  };
}

describe('applying a setup', () => {
  for (const when of ['before', 'after'] as const)
    it(`is completed by the next one, wherever it failed (${when} the step took effect)`, async () => {
      for (let nth = 0; nth < STEPS; nth++) {
        const ports = fakePorts();
        await assert.rejects(setup(request, failingAt(ports, nth, when)), /not today|the answer was lost/);
        const rest = await setup(request, ports);
        assert.equal(rest.outcome, 'done');
        const again = await setup(request, ports);
        assert.equal(setupLines(again).at(-1), 'Everything was there already.');
      }
    });

  it('is refused for a plan with a mismatch, whoever asks', async () => {
    const ports = fakePorts();
    const withDelta = { tables: [{ ...request.tables[0]!, deltaTable: 'default.employees' }] };
    const plan = planSetup(withDelta, await readExisting(withDelta, ports));
    await assert.rejects(applySetup(plan, ports), { code: 'SETUP_MISMATCH' });
    assert.deepEqual(await ports.control.pending(), ['0001_control', '0002_capture_and_merge']);
  });

  it('says so when another one created something else meanwhile', async () => {
    const ports = fakePorts();
    const topics = {
      describe: ports.topics.describe.bind(ports.topics),
      // Somebody is quicker, with other settings.
      create: (wanted: Parameters<SetupPorts['topics']['create']>[0]) =>
        ports.topics.create(wanted.map((topic) => ({ ...topic, partitions: 3 }))),
    };
    const result = await setup(request, { ...ports, topics });
    assert.equal(result.outcome, 'mismatch');
    assert.match(
      setupLines(result).join('\n'),
      /mismatch {2}topic employees_changes: has 3 partitions, 8 partitions wanted/,
    );
    assert.match(setupLines(result).at(-1) ?? '', /somebody else created it at the same moment/);
  });

  it('does not take a step that had no effect for done', async () => {
    const ports = fakePorts();
    const idle = { ...ports, histories: { ...ports.histories, create: () => Promise.resolve() } };
    await assert.rejects(setup(request, idle, { settleMs: 0 }), { code: 'SETUP_INCOMPLETE' });
  });
});
