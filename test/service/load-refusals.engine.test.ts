import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import kafkajs from 'kafkajs';
import { DeltaferryError } from '../../src/errors.ts';
import type { BackfillOptions, BackfillResult } from '../../src/service/backfill.ts';
import type { TableConfig } from '../../src/service/config/table-schema.ts';
import { startBackfill, textOf } from '../support/backfill-run.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { loadHere } from '../support/load-here.ts';

const ROWS = 2000;

/** What names what is wrong, and what to do about it; nothing is lost by any of it. */
describe('a load that cannot be carried out', () => {
  const later = undoing();
  let site: Site;

  before(async () => {
    site = later(await openSite({ prefix: 'load_refusals' }), (made) => made.drop());
    await site.warehouse.query({
      doing: 'filling the table',
      sql: `INSERT INTO ${site.deltaTable} SELECT id, concat('Employee ', id), 1 FROM range(${ROWS})`,
    });
  });

  const load = (options?: Partial<BackfillOptions>): Promise<BackfillResult> =>
    loadHere(site.config, options);

  async function refused(
    code: string,
    message: RegExp,
    remedy: RegExp,
    work: Promise<unknown>,
  ): Promise<void> {
    await assert.rejects(work, (error) => {
      assert.ok(error instanceof DeltaferryError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.match(error.remedy ?? '', remedy);
      return true;
    });
  }

  const tableWith = (more: Partial<TableConfig>): TableConfig => ({ ...site.config.tables[0]!, ...more });

  async function loadsBegun(): Promise<{ loads: number }> {
    const { rows } = await site.pool.query<{ loads: number }>(
      'SELECT count(*)::int AS loads FROM deltaferry.loads',
    );
    return rows[0]!;
  }

  async function rowsLoaded(): Promise<number> {
    const { rows } = await site.pool.query<{ n: number }>('SELECT count(*)::int AS n FROM employees');
    return rows[0]!.n;
  }

  it('says that a table without a history is none to load into', async () => {
    const { postgres } = site.config.tables[0]!;
    const table = tableWith({ postgres: { ...postgres, history: 'plain' } });
    await refused(
      'LOAD_TARGET_PLAIN',
      /has no history in Postgres/,
      /postgres\.history: scd2, .* --from postgres/,
      load({ table }),
    );
  });

  it('says that what goes from Postgres to Delta only is not loaded out of Delta', async () => {
    const { loads } = await loadsBegun();
    const table = tableWith({ direction: 'postgres-to-delta' });
    for (const options of [{}, { from: 'delta' }, { from: 'topic' }, { mode: 'restart' }] as const)
      await refused(
        'LOAD_TARGET_IS_SOURCE',
        /from Postgres to Delta only/,
        /--from postgres, or set its direction to both/,
        load({ table, ...options }),
      );
    assert.equal((await loadsBegun()).loads, loads);
  });

  it('says that what is not captured in Postgres cannot be loaded from there', async () => {
    await refused(
      'LOAD_SOURCE_NOT_CAPTURED',
      /from Delta to Postgres only/,
      /--from delta, or set its direction to both/,
      load({ from: 'postgres' }),
    );
  });

  it('says that a load into Delta takes a volume', async () => {
    const { stagingVolume: _, ...databricks } = site.config.databricks;
    await refused(
      'LOAD_NO_VOLUME',
      /takes a volume/,
      /Set databricks\.stagingVolume/,
      load({
        config: { ...site.config, databricks },
        table: tableWith({ direction: 'both' }),
        from: 'postgres',
      }),
    );
  });

  it('names the policy of a topic whose rows would expire, and the command that changes it', async () => {
    const { backfillTopic } = site.config.tables[0]!;
    const policy = async (value: string): Promise<unknown> => {
      const configEntries = [{ name: 'cleanup.policy', value }];
      const resource = { type: kafkajs.ConfigResourceTypes.TOPIC, name: backfillTopic, configEntries };
      return await admin.alterConfigs({ validateOnly: false, resources: [resource] });
    };
    const admin = site.kafka.admin();
    await admin.connect();
    try {
      await policy('delete');
      await refused(
        'LOAD_TOPIC_POLICY',
        new RegExp(`${backfillTopic} has cleanup\\.policy delete`),
        new RegExp(`--alter --topic ${backfillTopic} --add-config cleanup\\.policy=compact`),
        load(),
      );
      await policy('compact');
    } finally {
      await admin.disconnect();
    }
  });

  it(
    'says that the process which loads was killed, and goes on with --resume',
    { timeout: 120_000 },
    async () => {
      const args = [site.name, '--config', site.configFile];
      const first = later(startBackfill([...args, '--piece', '100']), (made) => made.kill());
      process.kill(await until('the loading process', () => first.loader(), { everyMs: 5 }), 'SIGKILL');
      assert.equal(await first.ended(), 1, textOf(first));
      assert.match(textOf(first), /^error: The process that loads .* ended before it was done: SIGKILL\./m);
      assert.match(textOf(first), /code: LOAD_PROCESS_ENDED/);
      assert.match(textOf(first), new RegExp(`deltaferry backfill ${site.name} --resume`));
      assert.equal(await rowsLoaded(), 0);
    },
  );

  it('moves nothing into the table where rows are missing, and says what may have deleted them', async () => {
    const person = await site.pool.connect();
    try {
      await person.query('BEGIN; LOCK TABLE employees IN ROW EXCLUSIVE MODE');
      const loading = load({ mode: 'resume' });
      loading.catch(() => {});
      const id = await until('every row to be beside the table', async () => {
        const { rows } = await site.pool.query<{ id: string }>(
          `SELECT id FROM deltaferry.loads WHERE phase = 'handover' AND applied_rows = $1`,
          [ROWS],
        );
        return rows[0]?.id;
      });
      await site.pool.query(`DELETE FROM deltaferry."load_${id}" WHERE emp_id = 7`);
      await person.query('COMMIT');
      await refused(
        'LOAD_INCOMPLETE',
        new RegExp(`published ${ROWS} rows, but ${ROWS - 1} came from topic`),
        /compacted only, never deleted from.* --restart/,
        loading,
      );
    } finally {
      person.release(true);
    }
    assert.equal(await rowsLoaded(), 0);
    assert.equal((await load({ mode: 'restart' })).rows, ROWS);
    assert.equal(await rowsLoaded(), ROWS);
  });

  it('names what does not take a row, and goes on once that is mended', async () => {
    await site.pool.query('TRUNCATE employees');
    await site.pool.query('ALTER TABLE employees ADD CONSTRAINT well_paid CHECK (salary > 1)');
    const remedy = new RegExp(`Mend what the message names in public\\.employees .*${site.name} --resume`);
    await refused('LOAD_ROW_REFUSED', /well_paid/, remedy, load());
    await site.pool.query('ALTER TABLE employees DROP CONSTRAINT well_paid');
    await site.pool.query('CREATE UNIQUE INDEX one_of_a_salary ON employees (salary)');
    await refused('LOAD_ROW_REFUSED', /one_of_a_salary/, remedy, load({ mode: 'resume' }));
    await site.pool.query('DROP INDEX one_of_a_salary');
    await site.pool.query('ALTER TABLE employees ADD COLUMN office text NOT NULL');
    await refused('POSTGRES_23502', /office/, /Give column office .* a default/, load({ mode: 'resume' }));
    assert.equal(await rowsLoaded(), 0);
    await site.pool.query('ALTER TABLE employees DROP COLUMN office');
    assert.equal((await load({ mode: 'resume' })).rows, ROWS);
    assert.equal(await rowsLoaded(), ROWS);
  });
});
