import assert from 'node:assert/strict';
import { it } from 'node:test';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { bothSides } from '../support/both-sides.ts';
import { QUICK, startService } from '../support/service.ts';
import { openSite } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';

const later = undoing();

it(
  'what people change in rows that a load has brought stays, though the change that made them comes only then',
  { timeout: 240_000 },
  async () => {
    const site = later(
      await openSite({ prefix: 'published_both', direction: 'both', settings: QUICK }),
      (made) => made.drop(),
    );
    const sides = bothSides(site);
    const producing = later(
      await startService(site.config, { roles: ['delta-feed', 'postgres-log', 'delta-merge'] }),
      (service) => service.stop(),
    );
    for (const salary of ['1.00', '2.00'])
      await sides.inDelta.upsert(...[1, 2, 3, 4].map((id) => ({ id, name: `Employee ${id}`, salary })));
    await until('all of it to be published', async () => (await sides.onTopic()).length === 8);

    const load = later(startBackfill([site.name, '--config', site.configFile]), (made) => made.kill());
    assert.equal(await load.ended(), 0, textOf(load));
    // In place: the version begins where it began, at the time of the change that is still to come.
    await site.pool.query(`UPDATE public.employees SET name = 'mine' WHERE emp_id = 3 AND off_date IS NULL`);
    await site.pool.query('DELETE FROM public.employees WHERE emp_id = 4');
    const expected = sides.expected as Map<number, string>;
    expected.set(3, 'mine 2.00');
    expected.delete(4);
    await producing.stop();
    later(await startService(site.config), (service) => service.stop());

    await sides.equal(30_000);
    const versions = async (): Promise<string[]> => {
      const { rows } = await site.pool.query<{ text: string }>(
        `SELECT concat_ws(' ', emp_id, name, salary, CASE WHEN off_date IS NOT NULL THEN 'ended' END) AS text
         FROM public.employees ORDER BY emp_id, on_date`,
      );
      return rows.map(({ text }) => text);
    };
    assert.deepEqual(await versions(), ['1 Employee 1 2.00', '2 Employee 2 2.00', '3 mine 2.00']);
  },
);
