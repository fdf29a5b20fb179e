import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { employee, employees } from './employees.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { FakePostgresLog, type FakeTransaction } from './fake-postgres-log.ts';
import { withFaults, type Fault } from './faults.ts';
import { fakeClock } from './feed-run.ts';
import { startLogPoller, type LogRun } from './log-run.ts';

type Step =
  | { readonly do: 'write'; readonly by: number; readonly keys: readonly number[]; readonly remove: boolean }
  | { readonly do: 'commit' | 'rollback'; readonly by: number }
  | { readonly do: 'elsewhere' };

interface Plan {
  readonly before: readonly Step[];
  readonly while: readonly Step[];
  readonly faults: readonly Fault[];
  /** After how many calls each process dies in turn. */
  readonly lives: readonly number[];
  readonly batch: number;
  readonly page: number;
}

const by = fc.integer({ min: 0, max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      by,
      keys: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 12 }),
      remove: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('commit' as const), by }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rollback' as const), by }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'elsewhere' }) },
);
const fault = fc.oneof(
  { weight: 12, arbitrary: fc.constant<Fault>('none') },
  { weight: 4, arbitrary: fc.constantFrom<Fault>('before', 'after', 'slow') },
);
const plan: fc.Arbitrary<Plan> = fc.record({
  before: fc.array(step, { minLength: 1, maxLength: 20 }),
  while: fc.array(step, { maxLength: 20 }),
  faults: fc.array(fault, { minLength: 1, maxLength: 60 }),
  lives: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 5 }),
  batch: fc.integer({ min: 1, max: 9 }),
  page: fc.integer({ min: 1, max: 7 }),
});

describe('log poller under faults', () => {
  it('every change is on the topic exactly once and per key in order, whatever fails, dies or answers late', async () => {
    // What a user would lose: a change in Delta, or one applied twice or after its successor.
    const hit = { faults: 0, kills: 0, killedInPublish: 0, midWindow: 0, late: 0, changes: 0 };
    await fc.assert(
      fc.asyncProperty(plan, async (each) => {
        const world = new World(each);
        try {
          await world.run();
        } finally {
          await world.end();
        }
        assert.deepEqual(world.published(), world.expected());
        hit.faults += world.faultsHit;
        hit.kills += world.kills;
        hit.killedInPublish += world.killedInPublish;
        for (const { position } of world.topic.transactions) {
          if (position['target'] !== null) hit.midWindow++;
          if (!String(position['acknowledged']).endsWith(':')) hit.late++;
        }
        hit.changes += world.topic.changes.length;
      }),
      { numRuns: 1_000, interruptAfterTimeLimit: 120_000, markInterruptAsFailure: true },
    );
    // The generator earns its name: otherwise the property above says nothing.
    assert.ok(
      hit.faults > 300 &&
        hit.kills > 300 &&
        hit.killedInPublish > 20 &&
        hit.midWindow > 300 &&
        hit.late > 100,
      JSON.stringify(hit),
    );
    assert.ok(hit.changes > 3_000, JSON.stringify(hit));
  });
});

class World {
  readonly topic = new FakeTopic();
  readonly log = new FakePostgresLog(employees);
  readonly leadership = new FakeLeadership();
  faultsHit = 0;
  kills = 0;
  killedInPublish = 0;
  private readonly plan: Plan;
  private readonly open = new Map<number, FakeTransaction>();
  /** Which writer has locked a key. */
  private readonly locks = new Map<number, number>();
  private version = 0;
  private faultsAsked = 0;
  private ending = false;
  private running: LogRun[] = [];

  constructor(plan: Plan) {
    this.plan = plan;
    this.log.pageChanges = plan.page;
    for (const each of plan.before) this.take(each);
  }

  async run(): Promise<void> {
    const steps = [...this.plan.while];
    for (const calls of this.plan.lives) {
      const dead = this.start(calls);
      await until(() => dead.happened || this.isDone(), 'the process dies or has nothing left to do', 15_000);
      const next = steps.shift();
      if (next !== undefined) this.take(next);
    }
    for (const each of steps) this.take(each);
    for (const writer of this.open.keys()) this.take({ do: 'commit', by: writer });
    this.start(Infinity);
    await until(() => this.isDone(), `all is published: ${JSON.stringify(this.topic.position)}`, 15_000);
  }

  async end(): Promise<void> {
    this.ending = true;
    await Promise.all(this.running.map((run) => run.drain()));
  }

  /** Per key in order; of several keys the order is nobody's concern. */
  published(): string[] {
    return sorted(
      this.topic.changes.map(({ tx, key, before, after }) => ({ xid: Number(tx), key, before, after })),
    );
  }

  /** In the order of the commits, which is the order of a key's changes. */
  expected(): string[] {
    return sorted(this.log.committed);
  }

  private isDone(): boolean {
    return this.topic.changes.length >= this.log.committed.length;
  }

  /** A process that dies after so many calls: its ports then never answer and its lease is gone. */
  private start(lives: number): { readonly happened: boolean } {
    const death = { happened: false };
    let calls = 0;
    const next = (method: string): Fault => {
      if (death.happened) return 'hang';
      if (this.ending) return 'none';
      if (++calls > lives) {
        death.happened = true;
        this.kills++;
        if (method === 'publish') this.killedInPublish++;
        this.running = this.running.filter((each) => each !== run);
        this.leadership.take('postgres-log/employees');
        return this.kills % 2 === 0 ? 'after-hang' : 'hang';
      }
      if (lives === Infinity && this.faultsAsked > 200) return 'none';
      const fault = this.plan.faults[this.faultsAsked++ % this.plan.faults.length] ?? 'none';
      if (fault !== 'none') this.faultsHit++;
      return fault;
    };
    const run = startLogPoller({
      table: 'employees',
      source: withFaults(this.log.source(), next),
      log: withFaults(this.topic.log(), next),
      leadership: withFaults(this.leadership.port(), () => (death.happened ? 'hang' : 'none')),
      clock: fakeClock(),
      options: { maxBatchChanges: this.plan.batch, pollMaxMs: 20, upkeepMs: 100 },
    });
    this.running.push(run);
    return death;
  }

  private take(each: Step): void {
    if (each.do === 'elsewhere') return this.log.skipTransaction();
    const { by } = each;
    if (each.do === 'write') {
      const transaction = this.open.get(by) ?? this.log.begin();
      this.open.set(by, transaction);
      for (const key of each.keys) {
        if ((this.locks.get(key) ?? by) !== by) continue;
        this.locks.set(key, by);
        transaction.set(key, each.remove ? null : employee(key, `v${++this.version}`));
      }
      return;
    }
    const transaction = this.open.get(by);
    this.open.delete(by);
    for (const [key, writer] of this.locks) if (writer === by) this.locks.delete(key);
    if (each.do === 'commit') transaction?.commit();
    else transaction?.rollback();
  }
}

interface Line {
  readonly xid: number;
  readonly key: string;
  readonly before: readonly unknown[] | null;
  readonly after: readonly unknown[] | null;
}

function sorted(changes: readonly Line[]): string[] {
  return changes
    .toSorted((a, b) => Number(a.key) - Number(b.key))
    .map(({ xid, key, before, after }) => `${key}: ${xid} ${String(before?.[1])}→${String(after?.[1])}`);
}
