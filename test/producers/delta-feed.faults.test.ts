import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Row } from '../../src/change/change.ts';
import { employee, employees } from './employees.ts';
import { FakeDelta } from './fake-delta.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { withFaults, type Fault } from './faults.ts';
import { startFeed, type FeedRun } from './feed-run.ts';

type Step =
  | {
      readonly do: 'upsert' | 'rewrite';
      readonly ids: readonly number[];
      readonly name: string;
      readonly own: boolean;
    }
  | { readonly do: 'delete'; readonly ids: readonly number[] }
  | { readonly do: 'overwrite'; readonly name: string }
  | { readonly do: 'restore' }
  | { readonly do: 'optimize' };

interface Plan {
  readonly before: readonly Step[];
  readonly while: readonly Step[];
  readonly schemaChanges: readonly number[];
  readonly faults: readonly Fault[];
  /** After how many calls each process dies in turn. */
  readonly lives: readonly number[];
  readonly batch: number;
  readonly page: number;
  readonly range: number;
}

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 12 });
const name = fc.constantFrom('Ann', 'Bob', 'Cid');
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('upsert', 'rewrite'), ids, name, own: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), ids }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('overwrite' as const), name }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'restore' }, { do: 'optimize' }) },
);
const fault = fc.oneof(
  { weight: 12, arbitrary: fc.constant<Fault>('none') },
  { weight: 4, arbitrary: fc.constantFrom<Fault>('before', 'after', 'slow') },
);
const plan: fc.Arbitrary<Plan> = fc.record({
  before: fc.array(step, { minLength: 1, maxLength: 8 }),
  while: fc.array(step, { maxLength: 8 }),
  schemaChanges: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 2 }),
  faults: fc.array(fault, { minLength: 1, maxLength: 60 }),
  lives: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 5 }),
  batch: fc.integer({ min: 1, max: 9 }),
  page: fc.integer({ min: 1, max: 7 }),
  range: fc.integer({ min: 1, max: 5 }),
});

describe('delta feed under faults', () => {
  it('every change is on the topic exactly once and in order, whatever fails, dies or answers late', async () => {
    // What a user would lose: a change in Postgres, or one applied twice.
    const hit = { faults: 0, kills: 0, killedInPublish: 0, midCommit: 0, changes: 0 };
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
        hit.midCommit += world.topic.transactions.filter(
          ({ position }) => Number(position['groups']) > 0,
        ).length;
        hit.changes += world.topic.changes.length;
      }),
      { numRuns: 1000, interruptAfterTimeLimit: 120_000, markInterruptAsFailure: true },
    );
    // The generator earns its name: otherwise the property above says nothing.
    assert.ok(
      hit.faults > 300 && hit.kills > 300 && hit.killedInPublish > 20 && hit.midCommit > 300,
      JSON.stringify(hit),
    );
    assert.ok(hit.changes > 3_000, JSON.stringify(hit));
  });

  it('a table replaced while a backlog is read: nothing of the new one is published', async () => {
    const [table, topic] = [new FakeDelta(employees), new FakeTopic()];
    for (const id of [1, 2, 3]) table.insert(employee(id));
    const run = startFeed({
      mapping: employees,
      source: withFaults(table.source(), (method) => {
        if (method === 'page') table.id = 'table-2';
        return 'none';
      }),
      log: topic.log(),
      leadership: new FakeLeadership().port(),
      options: { maxVersionsPerRead: 2 },
    });
    await run.reaches('stopped');
    await run.drain();
    assert.deepEqual(topic.changes, []);
  });
});

class World {
  readonly topic = new FakeTopic();
  readonly table = new FakeDelta(employees);
  readonly leadership = new FakeLeadership();
  faultsHit = 0;
  kills = 0;
  killedInPublish = 0;
  private readonly plan: Plan;
  private faultsAsked = 0;
  private ending = false;
  private running: FeedRun[] = [];

  constructor(plan: Plan) {
    this.plan = plan;
    this.table.pageRows = plan.page;
    for (const version of plan.schemaChanges) this.table.schemaChanges.add(version);
    for (const each of plan.before) this.commit(each);
  }

  async run(): Promise<void> {
    const steps = [...this.plan.while];
    for (const calls of this.plan.lives) {
      const dead = this.start(calls);
      await until(() => dead.happened || this.isDone(), 'the process dies or has nothing left to do', 3_000);
      const next = steps.shift();
      if (next !== undefined) this.commit(next);
    }
    for (const each of steps) this.commit(each);
    this.start(Infinity);
    await until(
      () => this.isDone(),
      `everything is published: ${JSON.stringify(this.topic.position)}`,
      3_000,
    );
  }

  async end(): Promise<void> {
    this.ending = true;
    await Promise.all(this.running.map((run) => run.drain()));
  }

  published(): string[] {
    return this.topic.changes.map(({ position, op, key, before, after }) =>
      line(Number(position), op, key, before, after),
    );
  }

  /** From the states before and after each commit, not from its feed. */
  expected(): string[] {
    return this.table.commits.flatMap(({ version, mark, state }) => {
      if (mark !== null || version === 0) return [];
      const old = byKey(this.table.commits[version - 1]?.state ?? []);
      const now = byKey(state);
      const keys = [...new Set([...old.keys(), ...now.keys()])].sort((a, b) => a - b);
      return keys.flatMap((key) => {
        const before = old.get(key) ?? null;
        const after = now.get(key) ?? null;
        if (before?.[1] === after?.[1]) return [];
        const op = before === null ? 'insert' : after === null ? 'delete' : 'update';
        return [line(version, op, String(key), before, after)];
      });
    });
  }

  private isDone(): boolean {
    return this.topic.position?.['version'] === this.table.version;
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
        this.leadership.take('delta-feed/employees');
        return this.kills % 2 === 0 ? 'after-hang' : 'hang';
      }
      if (lives === Infinity && this.faultsAsked > 200) return 'none';
      const fault = this.plan.faults[this.faultsAsked++ % this.plan.faults.length] ?? 'none';
      if (fault !== 'none') this.faultsHit++;
      return fault;
    };
    const run = startFeed({
      mapping: employees,
      source: withFaults(this.table.source(), next),
      log: withFaults(this.topic.log(), next),
      leadership: withFaults(this.leadership.port(), () => (death.happened ? 'hang' : 'none')),
      options: {
        maxBatchChanges: this.plan.batch,
        maxVersionsPerRead: this.plan.range,
        historyLimit: 3,
        pollMaxMs: 20,
      },
    });
    this.running.push(run);
    return death;
  }

  private commit(each: Step): void {
    const { table } = this;
    switch (each.do) {
      case 'upsert':
        return table.merge({
          upserts: each.ids.map((id) => employee(id, each.name)),
          ...(each.own ? { mark: 'deltaferry/x' } : {}),
        });
      case 'rewrite':
        return table.update((row) => (each.ids.includes(Number(row[0])) ? row : null));
      case 'delete':
        return table.delete((row) => each.ids.includes(Number(row[0])));
      case 'overwrite':
        return table.overwrite(table.rows.map((row) => employee(Number(row[0]), each.name)));
      case 'restore':
        return table.restore(Math.floor(table.version / 2));
      case 'optimize':
        return table.empty();
    }
  }
}

function byKey(rows: readonly Row[]): Map<number, Row> {
  return new Map(rows.map((row) => [Number(row[0]), row]));
}

function line(version: number, op: string, key: string, before: Row | null, after: Row | null): string {
  return `${version} ${op} ${key} ${String(before?.[1] ?? '')}→${String(after?.[1] ?? '')}`;
}
