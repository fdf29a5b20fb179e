import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Change } from '../../src/change/change.ts';
import { capturedChange, inDelta, namesInDelta, untilMerged } from '../support/merge-table.ts';
import { openRecords, type Records } from '../support/records.ts';
import { QUICK, startService, type RunningService } from '../support/service.ts';
import { openSite, type Publisher, type Site } from '../support/site.ts';
import { until } from '../support/until.ts';

const ROLES = { roles: ['delta-merge'] } as const;

describe('the merging consumer on real engines', () => {
  let site: Site;
  let records: Records;
  let publisher: Publisher;
  let services: RunningService[] = [];

  before(async () => {
    site = await openSite({ prefix: 'merging', direction: 'both', settings: QUICK });
    records = await openRecords(site);
    publisher = await site.openPublisher();
  });

  afterEach(async () => {
    for (const service of services) await service.stop();
    services = [];
  });

  after(async () => {
    await publisher?.close();
    await records?.close();
    await site?.drop();
  });

  async function start(): Promise<RunningService> {
    const service = await startService(site.config, ROLES);
    services.push(service);
    return service;
  }

  const partitionsOf = async (service: RunningService): Promise<number> =>
    Object.entries((await service.readyz()).parts).filter(
      ([name, { state }]) => /\/\d+$/.test(name) && state === 'running',
    ).length;

  const total = async (metric: string): Promise<number> => {
    let sum = 0;
    for (const service of services) sum += (await service.metric(metric)) ?? 0;
    return sum;
  };

  it('turns records into rows: inserts, updates, deletes, and nothing for its own changes', async () => {
    const service = await start();
    await publisher.publish([
      ...[1, 2, 3].map((id) => capturedChange(id, { name: `first ${id}` })),
      capturedChange(2, { op: 'update', name: 'second 2' }),
      capturedChange(3, { op: 'delete' }),
      // Made in Delta: the table has it already, or has moved on since.
      capturedChange(1, { op: 'update', name: 'echo', origin: 'delta' }),
    ]);
    await untilMerged(records.backlog, service);
    assert.deepEqual(
      await namesInDelta(site),
      new Map([
        [1, 'first 1'],
        [2, 'second 2'],
      ]),
    );
    assert.deepEqual(await records.deadLetters(), []);
    await until('Kafka’s own offsets to say so', async () => (await groupLag()) === 0n);
  });

  it('with two replicas, of which one leaves and another comes: every change once, no conflicts, people’s edits stay', async () => {
    const keys = Array.from({ length: 60 }, (_, n) => 100 + n);
    const last = new Map<number, string | null>();
    let published = 0;
    const wave = async (name: string, only: readonly number[]): Promise<void> => {
      const changes: Change[] = only.map((id) => capturedChange(id, { op: 'update', name: `${name} ${id}` }));
      changes.push(capturedChange(only[0]!, { op: 'delete' }));
      await publisher.publish(changes);
      published += changes.length;
      for (const id of only) last.set(id, `${name} ${id}`);
      last.set(only[0]!, null);
    };

    const first = await start();
    await wave('early', keys.slice(0, 5));
    await until('the first to have all partitions', async () => (await partitionsOf(first)) === 4);
    await start();
    await until('both to have partitions', async () => {
      const counts = await Promise.all(services.map(partitionsOf));
      return counts.every((count) => count === 2);
    });
    for (let n = 0; n < 20; n++) await wave(`wave ${n}`, keys.slice(n, n + 30));
    await untilMerged(records.backlog, first);

    // Edits between a merge and a hand-over: a repetition would undo them.
    await inDelta(site, `UPDATE TABLE_NAME SET name = 'edited' WHERE emp_id = 148`);
    await inDelta(site, `DELETE FROM TABLE_NAME WHERE emp_id = 147`);
    last.set(148, 'edited').set(147, null);

    const applied = await total('deltaferry_changes_applied_total');
    const conflicts = await total('deltaferry_merge_conflicts_total');
    const [gone] = services.splice(0, 1);
    await gone!.stop();
    const third = await start();
    const appliedByGone = applied - (await total('deltaferry_changes_applied_total'));
    for (let n = 0; n < 10; n++) await wave(`later ${n}`, keys.slice(n, n + 30));
    await untilMerged(records.backlog, third);

    const found = await namesInDelta(site);
    for (const [id, name] of last) assert.equal(found.get(id) ?? null, name, `key ${id}`);
    assert.equal((await total('deltaferry_changes_applied_total')) + appliedByGone, published);
    assert.equal(conflicts + (await total('deltaferry_merge_conflicts_total')), 0);
    assert.deepEqual(await records.deadLetters(), []);
  });

  it('catches up with a backlog in few merges, holding no more than it may', async () => {
    const ids = Array.from({ length: 12_000 }, (_, n) => 10_000 + n);
    for (let n = 0; n < ids.length; n += 4000)
      await publisher.publish(ids.slice(n, n + 4000).map((id) => capturedChange(id, { name: `bulk ${id}` })));
    const config = { ...site.config, merging: { ...site.config.merging, maxChanges: 5000 } };
    const service = await startService(config, ROLES);
    services.push(service);
    await untilMerged(records.backlog, service);
    const found = await namesInDelta(site);
    assert.ok(ids.every((id) => found.get(id) === `bulk ${id}`));
    const merged = service.lines
      .filter(({ msg }) => msg === 'merge ends')
      .map((line) => Number(line['changes']));
    assert.ok(merged.every((changes) => changes <= 5000) && merged.length <= 8, `merges of ${merged.join()}`);
  });

  async function groupLag(): Promise<bigint> {
    const admin = site.kafka.admin();
    await admin.connect();
    try {
      const groupId = `deltaferry.delta-merge.${site.config.databricks.id}.${site.config.postgres.id}.${site.name}`;
      const [committed] = await admin.fetchOffsets({ groupId, topics: [site.topic] });
      const ends = await admin.fetchTopicOffsets(site.topic);
      return ends.reduce((sum, { partition, high }) => {
        const found = committed?.partitions.find((each) => each.partition === partition)?.offset ?? '-1';
        return sum + BigInt(high) - BigInt(found === '-1' ? 0 : found);
      }, 0n);
    } finally {
      await admin.disconnect();
    }
  }
});
