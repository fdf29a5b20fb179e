import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { bothSides, type BothSides, type Writer } from '../support/both-sides.ts';
import { QUICK, startService, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';

/** Spans several transactions of each kind. */
const BULK = 2000;
const SETTINGS = {
  ...QUICK,
  batching: { maxChangesPerTransaction: 700, maxBatchChanges: 700 },
  merging: { minAgeMs: 50, maxAgeMs: 100 },
};
const SIDES = ['delta', 'postgres'] as const;

const person = (id: number, salary = `${1000 + id}.00`) => ({ id, name: `Employee ${id}`, salary });
const range = (from: number, count: number) => Array.from({ length: count }, (_, n) => from + n);

describe('both directions at once', () => {
  let site: Site;
  let sides: BothSides;
  let service: RunningService;

  before(async () => {
    site = await openSite({ prefix: 'both_ways', direction: 'both', settings: SETTINGS });
    sides = bothSides(site);
    service = await startService(site.config);
  });

  after(async () => {
    await service?.stop();
    await site?.drop();
  });

  const writer = (side: (typeof SIDES)[number]): Writer =>
    side === 'delta' ? sides.inDelta : sides.inPostgres;

  /** How many the history holds of each of these keys. */
  const versions = (...ids: number[]): Promise<number[]> =>
    Promise.all(
      ids.map(async (id) => {
        const found = await site.pool.query('SELECT FROM public.employees WHERE emp_id = $1', [id]);
        return found.rowCount ?? 0;
      }),
    );

  for (const [n, side] of SIDES.entries()) {
    const first = 1 + n * 10_000;

    it(`carries inserts, updates, deletes and re-inserts made in ${side} across once, and never back`, async () => {
      await writer(side).upsert(person(first), person(first + 1), person(first + 2));
      await sides.equal();
      await writer(side).upsert(person(first, '5.00'), person(first + 1, '6.00'));
      await sides.equal();
      await writer(side).remove(first, first + 2);
      await sides.equal();
      await writer(side).upsert(person(first, '7.00'));
      await sides.equal();
      await sides.assertCrossedOnce();
      // A change that came back would begin a version that nobody made.
      assert.deepEqual(await versions(first, first + 1, first + 2), [3, 2, 1]);
    });

    it(`carries a bulk change made in ${side} across once, and never back`, async () => {
      await writer(side).upsert(...range(first + 100, BULK).map((id) => person(id)));
      await sides.equal();
      await writer(side).upsert(...range(first + 100, BULK).map((id) => person(id, '9.99')));
      await sides.equal();
      await writer(side).remove(...range(first + 100, BULK - 500));
      await sides.equal();
      await sides.assertCrossedOnce();
    });
  }

  for (const [first, second] of [SIDES, SIDES.toReversed()] as const)
    it(`lets a change made in ${second} win on both sides over one made in ${first} that has crossed`, async () => {
      const id = first === 'delta' ? 90_501 : 90_502;
      await writer(first).upsert(person(id, '1.00'));
      await sides.equal();
      await writer(second).upsert(person(id, '2.00'));
      await sides.equal();
      await writer(first).remove(id);
      await sides.equal();
      await writer(second).upsert(person(id, '3.00'));
      await sides.equal();
      await sides.assertCrossedOnce();
    });

  it('sends nothing back while both sides change other keys at the same time', async () => {
    await Promise.all([
      (async () => {
        for (const round of range(1, 3))
          await sides.inDelta.upsert(...range(90_600, 20).map((id) => person(id, `${round}.00`)));
      })(),
      (async () => {
        for (const round of range(1, 25))
          await sides.inPostgres.upsert(...range(90_700, 20).map((id) => person(id, `${round}.00`)));
      })(),
    ]);
    await sides.equal();
    await sides.assertCrossedOnce();
  });

  it('sends nothing back after a restart of the service', async () => {
    await sides.inPostgres.upsert(person(90_800));
    await sides.inDelta.upsert(person(90_805));
    await sides.equal();
    // And with changes under way.
    await sides.inPostgres.upsert(person(90_801));
    await sides.inDelta.upsert(person(90_802));
    await service.stop();
    await sides.inPostgres.upsert(person(90_801, '8.01'), person(90_803));
    await sides.inDelta.upsert(person(90_802, '8.02'), person(90_804));
    service = await startService(site.config);
    await sides.equal();
    await sides.inPostgres.remove(90_801);
    await sides.inDelta.remove(90_802);
    await sides.equal();
    await sides.assertCrossedOnce();
  });

  it('takes a row out of Delta whose last value Delta could not hold, and goes on', async () => {
    await sides.inPostgres.upsert(person(90_850), person(90_851));
    await sides.equal();
    await site.pool.query(
      `UPDATE public.employees SET salary = 'NaN' WHERE emp_id = 90850 AND off_date IS NULL`,
    );
    await sides.inPostgres.remove(90_850);
    await sides.inPostgres.upsert(person(90_851, '8.51'));
    await sides.equal();
    await sides.assertCrossedOnce();
  });

  it('publishes each change with its origin, its operation and the row after it', async () => {
    await sides.inPostgres.upsert(person(90_901));
    await sides.equal();
    await sides.inPostgres.upsert(person(90_901, '9.01'));
    await sides.equal();
    await sides.inPostgres.remove(90_901);
    await sides.equal();
    assert.deepEqual(
      (await sides.onTopic()).filter(({ key }) => key === '90901'),
      [
        { origin: 'postgres', op: 'insert', key: '90901', after: 'Employee 90901 91901.00' },
        { origin: 'postgres', op: 'update', key: '90901', after: 'Employee 90901 9.01' },
        { origin: 'postgres', op: 'delete', key: '90901', after: null },
      ],
    );
  });
});
