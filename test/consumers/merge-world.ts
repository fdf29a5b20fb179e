import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Row } from '../../src/change/change.ts';
import type { createDeltaMerge } from '../../src/consumers/delta-merge.ts';
import type { BatchOutcome, StreamRecord } from '../../src/ports/record-stream.ts';
import { fakeMergeSink } from '../support/fake-merge-sink.ts';
import {
  batchOf,
  fakeDeadLetters,
  record,
  schemas,
  UNSTORABLE,
  withFaults,
  type Fault,
  type RecordKind,
} from './fakes.ts';
import { fakeStream } from './merging.ts';
import { EMPLOYEES, NOW } from './fakes.ts';

const PARTITIONS = [0, 1] as const;
const UNDECODABLE: readonly RecordKind[] = ['garbage', 'unknown schema', 'no key', 'wrong key', 'future'];
const keepAlive = (): Promise<void> => Promise.resolve();
const forever = new AbortController().signal;

interface Laid {
  readonly kind: RecordKind;
  readonly key: string;
  readonly record: StreamRecord;
}

type Which = 0 | 1;

export type Step =
  /** `to`: the replica that has the partition, or the one that had it and does not know yet. */
  | {
      readonly kind: 'deliver';
      readonly partition: Which;
      readonly size: number;
      readonly to: 'owner' | 'former';
    }
  | { readonly kind: 'tend'; readonly replica: Which; readonly wait: boolean }
  | { readonly kind: 'rebalance'; readonly partition: Which }
  /** The partition changes hands, and the former owner is told later. */
  | { readonly kind: 'zombie'; readonly partition: Which }
  /** The former owner's merge is under way when the new one asks where to start, and lands afterwards. */
  | { readonly kind: 'overtake'; readonly partition: Which; readonly size: number }
  | { readonly kind: 'hold' }
  | { readonly kind: 'release' }
  /** A person writes the row of a key, or deletes it. */
  | { readonly kind: 'edit'; readonly partition: Which; readonly key: number; readonly deletes: boolean };

export interface Plan {
  readonly topic: readonly (readonly Laid[])[];
  readonly faults: readonly Fault[];
  readonly steps: readonly Step[];
  readonly maxChanges: number;
}

const which = fc.constantFrom<Which>(...PARTITIONS);

const topics: fc.Arbitrary<Laid[][]> = fc
  .tuple(
    ...PARTITIONS.map(() =>
      fc.array(
        fc.record({
          kind: fc.oneof(
            { weight: 10, arbitrary: fc.constant<RecordKind>('good') },
            { weight: 3, arbitrary: fc.constant<RecordKind>('delete') },
            { weight: 2, arbitrary: fc.constant<RecordKind>('own') },
            { weight: 2, arbitrary: fc.constant<RecordKind>('unstorable') },
            { weight: 1, arbitrary: fc.constantFrom(...UNDECODABLE) },
          ),
          key: fc.nat(3),
          gap: fc.constantFrom(1, 1, 1, 2),
        }),
        { minLength: 1, maxLength: 25 },
      ),
    ),
  )
  .map((partitions) =>
    partitions.map((records, partition) => {
      let offset = -1;
      return records.map(({ kind, key, gap }) => {
        offset += gap;
        const number = key + partition * 10;
        return { kind, key: String(number), record: record(kind, number, offset) };
      });
    }),
  );

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant('deliver' as const),
        partition: which,
        size: fc.integer({ min: 1, max: 9 }),
        to: fc.constantFrom('owner' as const, 'owner' as const, 'former' as const),
      }),
    },
    {
      weight: 10,
      arbitrary: fc.record({ kind: fc.constant('tend' as const), replica: which, wait: fc.boolean() }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('rebalance' as const), partition: which }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('zombie' as const), partition: which }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('overtake' as const),
        partition: which,
        size: fc.integer({ min: 1, max: 9 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('hold' as const) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('edit' as const),
        partition: which,
        key: fc.nat(3),
        deletes: fc.boolean(),
      }),
    },
  ),
  { maxLength: 70 },
);

const faults = fc.array(
  fc.constantFrom<Fault>(
    'none',
    'none',
    'none',
    'none',
    'before',
    'after',
    'after',
    'fenced',
    'operator',
    'slow',
  ),
  { maxLength: 60 },
);

export const plans: fc.Arbitrary<Plan> = fc.record({
  topic: topics,
  faults,
  steps,
  maxChanges: fc.integer({ min: 1, max: 8 }),
});

/** What happened, so that a test can tell that it was worth something. */
export interface Happened {
  readonly fenced: number;
  readonly lostAnswers: number;
  readonly halved: number;
  readonly waited: number;
  readonly overwritten: number;
}

type CreateDeltaMerge = typeof createDeltaMerge;

/**
 * Plays a plan with two replicas on one table, and compares the table with a naive model after every step:
 * the model knows the topic, what people wrote, and which offsets the sink has passed when.
 */
export async function play(plan: Plan, create: CreateDeltaMerge): Promise<Happened> {
  const { topic, maxChanges } = plan;
  const pending = [...plan.faults];
  const happened = { fenced: 0, lostAnswers: 0, halved: 0, waited: 0, overwritten: 0 };
  let gate: { readonly held: Promise<void>; readonly release: () => void } | null = null;
  const sink = fakeMergeSink({ unstorable: UNSTORABLE, onMerge: () => gate?.held });
  const table = sink.rows as Map<string, Row>;
  const deadLetters = fakeDeadLetters();
  const model = new Map<string, Row>();
  const edited = new Set<string>();
  const owners: Which[] = [0, 1];
  let told = 0;
  let handovers = 0;
  let edits = 0;
  let merges = 0;

  const replicas = PARTITIONS.map(() => {
    const stream = fakeStream();
    const time = { ms: 0 };
    const reported: string[] = [];
    const merge = create({
      topic: 'employees_changes',
      table: EMPLOYEES,
      origin: 'postgres',
      stream: {
        ...stream,
        reread(partitions) {
          happened.fenced += 1;
          for (const partition of partitions) replica.at.delete(partition);
        },
      },
      sink: withFaults(sink, ['merge', 'claim'], () => {
        const fault = pending.shift() ?? 'none';
        if (fault === 'after') happened.lostAnswers += 1;
        return fault === 'fenced' ? 'none' : fault;
      }),
      deadLetters: withFaults(deadLetters, ['send'], () => pending.shift() ?? 'none'),
      schemas: withFaults(schemas, ['schemaById'], () => pending.shift() ?? 'none'),
      maxChanges,
      now: () => NOW,
      clock: () => time.ms,
      random: () => 0.5,
      onMerged: ({ changes, records }) => {
        told += records;
        reported.push(...changes.map(({ key, position }) => `${key}@${position}`));
      },
    });
    const replica = {
      ...merge,
      time,
      reported,
      at: new Map<number, bigint>(),
      inHand: new Map<number, Promise<BatchOutcome | null>>(),
      tending: null as Promise<void> | null,
    };
    return replica;
  });
  type Replica = (typeof replicas)[number];
  const replicaOf = (index: number): Replica => replicas[index] ?? assert.fail();
  const laid = (partition: number): readonly Laid[] => topic[partition] ?? [];
  const endOf = (partition: number): bigint => (laid(partition).at(-1)?.record.offset ?? -1n) + 2n;
  const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  /** Takes every merge that was committed since into the model, from the topic alone. */
  function catchUp(): void {
    for (const parts of sink.merges.slice(merges)) {
      merges += 1;
      assert.ok(
        parts.reduce((sum, { changes }) => sum + changes.length, 0) <= maxChanges,
        'a merge too large',
      );
      for (const { partition, expected, next } of parts) {
        const passed = laid(partition).filter(
          ({ record: { offset } }) => offset >= expected && offset < next,
        );
        const lettered = new Set(
          deadLetters.letters.filter((letter) => letter.partition === partition).map(({ offset }) => offset),
        );
        passed.forEach(({ kind, key, record: { offset } }, at) => {
          if (UNDECODABLE.includes(kind))
            assert.ok(
              lettered.has(offset),
              `the offset moved past ${offset}, whose letter is not acknowledged`,
            );
          if (kind === 'unstorable' && !lettered.has(offset))
            assert.ok(
              passed.slice(at + 1).some((later) => later.key === key && !UNDECODABLE.includes(later.kind)),
              `the value at ${offset} was passed over in silence`,
            );
          if (kind === 'good') model.set(key, [Number(key), `v${offset}`]);
          if (kind === 'delete') model.delete(key);
          if ((kind === 'good' || kind === 'delete') && edited.delete(key)) happened.overwritten += 1;
        });
      }
    }
    assert.deepEqual(new Map([...table].sort()), new Map([...model].sort()));
  }

  function check(): void {
    catchUp();
    for (const { handler } of replicas)
      for (const [partition, durable] of handler.durable?.() ?? []) {
        const stored = sink.offsets.get(partition) ?? 0n;
        const between = laid(partition).some(
          ({ record: { offset } }) => offset >= stored && offset < durable,
        );
        assert.ok(!between, `durable ${durable} runs ahead of ${stored}`);
      }
  }

  /** What should end by itself in a moment. */
  async function ends<T>(what: string, work: Promise<T>): Promise<T> {
    let over = false;
    void work.catch(() => {}).finally(() => (over = true));
    for (let ticks = 0; ticks < 50 && !over; ticks++) await tick();
    assert.ok(over, `${what} does not end`);
    return work;
  }

  async function deliver(replica: Replica, partition: number, size: number): Promise<void> {
    await tick();
    const before = replica.inHand.get(partition);
    if (!replica.at.has(partition)) {
      // It lost its place: what it had in hand is let go.
      if (before !== undefined) await ends('a batch without its partition', before);
      await assign(replica, partition);
    } else if (before !== undefined) return;
    const from = replica.at.get(partition);
    const end = endOf(partition);
    if (from === undefined || from >= end) return;
    const left = laid(partition).filter(({ record: { offset } }) => offset >= from);
    const next = left[size]?.record.offset ?? end;
    const fetched = left.slice(0, size).map((each) => each.record);
    const { at, inHand } = replica;
    const batch = replica.handler.batch(batchOf(fetched, from, next, partition), keepAlive);
    const hand = batch.then((outcome) => {
      if (inHand.get(partition) !== hand) return null;
      inHand.delete(partition);
      // Otherwise the place was lost meanwhile.
      if (at.get(partition) === from && outcome.kind === 'done') at.set(partition, outcome.next);
      if (at.get(partition) === from && outcome.kind === 'seek') at.set(partition, outcome.offset);
      return outcome;
    });
    inHand.set(partition, hand);
    await tick();
    if (inHand.has(partition)) happened.waited += 1;
  }

  async function assign(replica: Replica, partition: number): Promise<void> {
    // Asking may wait for a merge under way.
    if (replica.tending !== null) gate?.release();
    const asked = replica.handler.assigned(new Map([[partition, { low: 0n, high: 1_000_000n }]]));
    try {
      for (const [each, offset] of await ends('an assignment', asked)) replica.at.set(each, offset);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      // Asked again before the next delivery.
    }
  }

  function revoke(replica: Replica, partition: number): void {
    replica.handler.revoked([partition]);
    replica.at.delete(partition);
  }

  async function tend(replica: Replica, wait: boolean): Promise<void> {
    if (replica.tending === null) {
      const before = sink.merges.length;
      replica.tending = replica.tend(forever).then((ms) => {
        replica.tending = null;
        if (ms !== Infinity) replica.time.ms += ms;
        if (sink.merges.length > before + 1) happened.halved += 1;
      });
    }
    if (wait && gate === null) await ends('a merge', replica.tending);
    else await tick();
  }

  function hold(): void {
    if (gate !== null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = {
      held: promise,
      release: () => {
        gate = null;
        resolve();
      },
    };
  }

  function handOver(partition: number, told: boolean): void {
    const owner = owners[partition] ?? 0;
    handovers += 1;
    // Who was a zombie until now is told, too.
    revoke(replicaOf(1 - owner), partition);
    if (told) revoke(replicaOf(owner), partition);
    owners[partition] = owner === 0 ? 1 : 0;
  }

  async function step(given: Step): Promise<void> {
    switch (given.kind) {
      case 'deliver': {
        const owner = owners[given.partition] ?? 0;
        const former = replicaOf(1 - owner);
        if (given.to === 'owner') await deliver(replicaOf(owner), given.partition, given.size);
        else if (former.at.has(given.partition)) await deliver(former, given.partition, given.size);
        return;
      }
      case 'tend':
        return tend(replicaOf(given.replica), given.wait);
      case 'rebalance':
      case 'zombie':
        return handOver(given.partition, given.kind === 'rebalance');
      case 'overtake': {
        const { partition, size } = given;
        const former = replicaOf(owners[partition] ?? 0);
        await deliver(former, partition, size);
        hold();
        // Once to let time pass, once to merge.
        await tend(former, false);
        await tend(former, false);
        handOver(partition, false);
        await deliver(replicaOf(owners[partition] ?? 0), partition, size);
        gate?.release();
        return tick();
      }
      case 'hold':
        return hold();
      case 'release':
        gate?.release();
        return tick();
      case 'edit': {
        catchUp();
        const key = String(given.key + given.partition * 10);
        const row: Row = [Number(key), `person${edits++}`];
        for (const rows of [table, model])
          if (given.deletes) rows.delete(key);
          else rows.set(key, row);
        edited.add(key);
        return;
      }
      default:
        given satisfies never;
    }
  }

  for (const given of plan.steps) {
    await step(given);
    check();
  }
  pending.length = 0;
  (gate as { release: () => void } | null)?.release();
  for (const replica of replicas) if (replica.tending !== null) await ends('a merge', replica.tending);
  for (const partition of PARTITIONS) revoke(replicaOf(1 - (owners[partition] ?? 0)), partition);
  for (
    let tries = 0;
    PARTITIONS.some((each) => (sink.offsets.get(each) ?? 0n) < lastOf(laid(each)));
    tries++
  ) {
    assert.ok(tries < 200, 'the partitions make no progress');
    for (const partition of PARTITIONS) await deliver(replicaOf(owners[partition] ?? 0), partition, 7);
    for (const replica of replicas) await tend(replica, true);
    check();
  }
  // A last merge may have landed whose answer was lost.
  for (let times = 0; times < 8; times++) for (const replica of replicas) await tend(replica, true);
  check();
  for (const { reported } of replicas)
    assert.equal(new Set(reported).size, reported.length, 'a merge was counted twice');
  const changes = topic.flat().filter(({ kind }) => ['good', 'delete', 'unstorable'].includes(kind)).length;
  const refused = new Set(
    deadLetters.letters
      .filter(({ errorCode }) => errorCode === 'VALUE_REFUSED')
      .map(({ partition, offset }) => `${partition}:${offset}`),
  ).size;
  // Who lost a partition in doubt may miss a merge of its own, or take the other's for it.
  if (handovers === 0) assert.equal(told, changes - refused, 'changes that were told of');
  return happened;
}

/** Offsets behind the last record need not be stored. */
function lastOf(records: readonly Laid[]): bigint {
  return (records.at(-1)?.record.offset ?? -1n) + 1n;
}
