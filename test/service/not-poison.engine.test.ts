import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { loadConfig } from '../../src/service/config/load.ts';
import { setupTables } from '../../src/service/setup.ts';
import { deadLetterTopic } from '../../src/setup/request.ts';
import { registryInFront, type RegistryInFront } from '../support/registry.ts';
import { employeeChange, openRecords, type Records } from '../support/records.ts';
import { QUICK, startService, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { testStack } from '../support/stack.ts';
import { until } from '../support/until.ts';

/** The grants of docs/OPERATIONS.md: a superuser would never lack one. */
const GRANTS = (role: string) => `
  GRANT USAGE ON SCHEMA deltaferry TO ${role};
  GRANT SELECT ON deltaferry.migrations TO ${role};
  GRANT SELECT, INSERT, UPDATE ON deltaferry.offsets TO ${role};
  GRANT SELECT, INSERT, UPDATE, DELETE ON deltaferry.orphan_deletes TO ${role};
  GRANT SELECT ON deltaferry.loads TO ${role};
  GRANT SELECT, INSERT, UPDATE, DELETE ON public.employees TO ${role};`;

describe('what is not poison', () => {
  let site: Site;
  let records: Records;
  let registry: RegistryInFront;
  let service: RunningService;
  let role: string;
  let lastKey = 0;
  /** Lines of the log before this one are an earlier case's. */
  let mark = 0;
  const expected = new Set<number>();

  before(async () => {
    registry = await registryInFront(testStack().registry.url);
    site = await openSite({ prefix: 'mend', partitions: 1, settings: QUICK });
    records = await openRecords(site);
    role = `${site.name}_service`;
    await site.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'only here'`);
    await site.pool.query(GRANTS(role));
    await restart();
  });

  after(async () => {
    await service?.stop();
    await records?.close();
    await site?.pool.query(`DROP OWNED BY ${role}`);
    await site?.pool.query(`DROP ROLE ${role}`);
    await site?.drop();
    await registry?.close();
  });

  beforeEach(() => {
    mark = service.lines.length;
  });

  /** Whatever a case did: it ends with everything applied, nothing set aside and the service ready. */
  afterEach(async () => {
    await until('the backlog to be gone', async () => (await records.backlog()) === 0n);
    await until('the service to be ready', async () => (await service.readyz()).status === 200);
    assert.deepEqual(await records.deadLetters(), []);
    assert.deepEqual(new Set((await records.history()).map(({ id }) => id)), expected);
  });

  async function restart(): Promise<void> {
    await service?.stop();
    const url = new URL(site.config.postgres.url);
    url.username = role;
    url.password = 'only here';
    const config = await loadConfig({
      file: site.configFile,
      env: {},
      overrides: { 'postgres.url': url.href, 'registry.url': registry.url },
    });
    service = await startService(config, { roles: ['postgres-history'] });
    mark = 0;
  }

  /** Changes of keys never seen before, in one request. */
  async function produce(count = 5): Promise<number[]> {
    const keys = Array.from({ length: count }, () => (lastKey += 1));
    await records.produce(keys.map((key) => records.of(employeeChange(key))));
    for (const key of keys) expected.add(key);
    return keys;
  }

  async function stoppedWith(code: string, remedy: RegExp): Promise<void> {
    const part = await until(`readiness to say ${code}`, async () => {
      const { status, parts } = await service.readyz();
      const found = parts[`postgres-history/${site.name}/0`];
      return status === 503 && found?.code === code && found;
    });
    assert.equal(part.state, 'stopped');
    assert.equal(part.ready, false);
    assert.match(part.remedy ?? '', remedy);
    const labels = { part: `postgres-history/${site.name}/0`, state: 'stopped' };
    assert.equal(await service.metric('deltaferry_part_state', labels), 1);
    const line = service.lines.slice(mark).findLast((one) => one.level === 50 && one['code'] === code);
    assert.match(String(line?.['remedy']), remedy);
  }

  interface Break {
    readonly name: string;
    readonly code: string;
    readonly remedy: RegExp;
    readonly damage: () => Promise<unknown>;
    readonly mend: () => Promise<unknown>;
  }

  const sql = (text: string) => () => site.pool.query(text.replaceAll('ROLE', role));
  const refusing = (sqlState: string) =>
    sql(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '${sqlState}'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON public.employees EXECUTE FUNCTION refuse()`);
  const allowing = sql('DROP FUNCTION refuse() CASCADE');

  const breaks: readonly Break[] = [
    {
      name: 'a revoked grant on the history table',
      code: 'POSTGRES_42501',
      remedy: /^Grant role mend_\w+_service what the message names, on public\.employees/,
      damage: sql('REVOKE INSERT ON public.employees FROM ROLE'),
      mend: sql('GRANT INSERT ON public.employees TO ROLE'),
    },
    {
      name: 'a revoked grant on the control schema',
      code: 'POSTGRES_42501',
      remedy: /schema deltaferry/,
      damage: sql('REVOKE UPDATE ON deltaferry.offsets FROM ROLE'),
      mend: sql('GRANT UPDATE ON deltaferry.offsets TO ROLE'),
    },
    {
      name: 'a dropped history table, created anew by setup',
      code: 'POSTGRES_42P01',
      remedy: /`deltaferry setup` creates public\.employees/,
      damage: async () => {
        expected.clear();
        await site.pool.query('DROP TABLE public.employees');
      },
      mend: async () => {
        assert.equal((await setupTables(site.config)).outcome, 'done');
        await site.pool.query(GRANTS(role));
      },
    },
    {
      name: 'a missing column, added again',
      code: 'POSTGRES_42703',
      remedy: /`deltaferry setup --dry-run` names the differences/,
      damage: sql('ALTER TABLE public.employees RENAME COLUMN salary TO wage'),
      mend: sql('ALTER TABLE public.employees RENAME COLUMN wage TO salary'),
    },
    {
      name: 'a full disk',
      code: 'POSTGRES_53100',
      remedy: /Free disk space/,
      damage: refusing('53100'),
      mend: allowing,
    },
    {
      name: 'a trigger of the users that refuses everything',
      code: 'POSTGRES_P0001',
      remedy: /A trigger or function on public\.employees refused it/,
      damage: refusing('P0001'),
      mend: allowing,
    },
    {
      name: 'a server that only takes reads',
      code: 'POSTGRES_25006',
      remedy: /Point postgres\.url at the primary/,
      damage: refusing('25006'),
      mend: allowing,
    },
  ];

  for (const { name, code, remedy, damage, mend } of breaks)
    it(`${name}: stops with the remedy, sets nothing aside, goes on by itself once mended`, async () => {
      await damage();
      await produce();
      try {
        await stoppedWith(code, remedy);
        assert.ok((await records.backlog()) > 0n);
      } finally {
        await mend();
      }
    });

  it('a wiped registry: stops with the remedy, sets nothing aside, goes on by itself once restored', async () => {
    registry.mode = 'wiped';
    try {
      await restart();
      await produce();
      await stoppedWith('REGISTRY_WIPED', /restore the registry with its old schema ids/);
    } finally {
      registry.mode = 'up';
    }
  });

  it('a registry that is down: tries again, stays ready, sets nothing aside', async () => {
    registry.mode = 'down';
    try {
      await restart();
      await until('the service to have its partition', async () => (await service.readyz()).status === 200);
      await produce();
      await retriedWith('REGISTRY_UNAVAILABLE');
    } finally {
      registry.mode = 'up';
    }
  });

  it('a registry whose ids mean other schemas: stops once it is more than a stray record, sets none aside', async () => {
    const foreign = 1_999_000_001;
    const keys = Array.from({ length: 150 }, () => (lastKey += 1));
    const messages = keys.map((key) => records.of(employeeChange(key)));
    const own = messages[0]!.value.readUInt32BE(1);
    for (const { value } of messages) value.writeUInt32BE(foreign, 1);
    await records.produce(messages);
    await stoppedWith('TOO_MANY_FOREIGN_SCHEMAS', /restore the registry with its old schema ids/);
    for (const key of keys) expected.add(key);
    registry.aliases.set(foreign, own);
  });

  it('poison while the dead-letter topic is missing: stops before it, and sets it aside once the topic is there', async () => {
    const letters = deadLetterTopic(site.topic);
    const admin = site.kafka.admin();
    await admin.connect();
    try {
      await admin.deleteTopics({ topics: [letters] });
      const { offset } = await records.produce([{ key: 'x', value: 'not ours' }]);
      await produce();
      await stoppedWith('KAFKA_TOPIC_MISSING', /Create the topic .*dead-letters with `deltaferry setup`/);
      assert.ok((await nextOffset()) <= offset);
      assert.equal((await setupTables(site.config)).outcome, 'done');
      await until('the backlog to be gone', async () => (await records.backlog()) === 0n);
      assert.deepEqual(
        (await records.deadLetters()).map(({ headers }) => headers['offset']),
        [String(offset)],
      );
    } finally {
      await admin.deleteTopics({ topics: [letters] });
      await until('the topic to be gone', async () => !(await admin.listTopics()).includes(letters));
      await setupTables(site.config);
      await admin.disconnect();
    }
  });

  async function nextOffset(): Promise<bigint> {
    const { rows } = await site.pool.query<{ next: string }>(
      'SELECT next_offset AS next FROM deltaferry.offsets',
    );
    return BigInt(rows[0]!.next);
  }

  /** The service says that it tries again, and is ready all the while: nobody has to act. */
  async function retriedWith(code: string): Promise<void> {
    await until(`the log to say ${code}`, () =>
      service.lines.slice(mark).some((line) => line.level === 40 && line['code'] === code),
    );
    const { status, parts } = await service.readyz();
    assert.equal(status, 200, JSON.stringify(parts));
  }

  it('a lock that a person holds: lets go in time, tries again, and applies once it is free', async () => {
    const [key = 0] = await produce(1);
    await until('the first version', async () => (await records.backlog()) === 0n);
    const person = await site.pool.connect();
    try {
      await person.query('BEGIN');
      await person.query('SELECT FROM public.employees WHERE emp_id = $1 FOR UPDATE', [key]);
      await records.produce([records.of(employeeChange(key, { op: 'update', ts: Date.now() * 1000 }))]);
      await retriedWith('POSTGRES_55P03');
      // Neither does the service hold what the person needs next.
      await person.query("SET LOCAL lock_timeout = '2s'");
      await person.query('LOCK TABLE public.employees IN SHARE ROW EXCLUSIVE MODE');
      await person.query('COMMIT');
    } finally {
      person.release();
    }
  });

  it('a person’s own write of the same key at the same moment: waits, tries again, and keeps both', async () => {
    const key = (lastKey += 1);
    expected.add(key);
    const person = await site.pool.connect();
    const ts = Date.now() * 1000;
    try {
      await person.query('BEGIN');
      await person.query(
        `INSERT INTO public.employees (emp_id, name, salary, is_active, on_date)
         VALUES ($1, 'by hand', 1, true, to_timestamp($2::float8 / 1000000))`,
        [key, ts - 1_000_000],
      );
      await records.produce([records.of(employeeChange(key, { name: 'by the service', ts }))]);
      await until('the service to wait for the person', async () => {
        const { rows } = await site.pool.query<{ n: string }>(
          `SELECT count(*) AS n FROM pg_stat_activity
           WHERE application_name = $1 AND wait_event_type = 'Lock'`,
          [site.applicationName('postgres-history')],
        );
        return rows[0]?.n === '1';
      });
      await person.query('COMMIT');
    } finally {
      person.release();
    }
    await retriedWith('POSTGRES_23505');
    await until('the backlog to be gone', async () => (await records.backlog()) === 0n);
    assert.deepEqual(
      (await records.history()).filter(({ id }) => id === key).map(({ name, to }) => ({ name, to })),
      [
        { name: 'by hand', to: ts },
        { name: 'by the service', to: null },
      ],
    );
  });

  for (const sqlState of ['40001', '40P01', '57014', '53300'])
    it(`SQLSTATE ${sqlState} three times: tries again until it is done`, async () => {
      // A sequence is not rolled back: it counts the attempts.
      await site.pool.query(
        `CREATE SEQUENCE attempts;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
           IF nextval('public.attempts') <= 3 THEN
             RAISE EXCEPTION 'refused by the test' USING ERRCODE = '${sqlState}';
           END IF;
           RETURN NULL;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON public.employees EXECUTE FUNCTION refuse()`,
      );
      await produce();
      await retriedWith(`POSTGRES_${sqlState}`);
      await until('the backlog to be gone', async () => (await records.backlog()) === 0n);
      const { rows } = await site.pool.query<{ last: string }>('SELECT last_value AS last FROM attempts');
      assert.equal(rows[0]?.last, '4');
      await site.pool.query('DROP FUNCTION refuse() CASCADE; DROP SEQUENCE attempts');
    });
});

describe('a service that is started before setup', () => {
  it('says what is missing in readiness, and goes on by itself once setup has run', async (t) => {
    const site = await openSite({ prefix: 'early', partitions: 1, settings: QUICK });
    const database = `${site.name}_later`;
    await site.pool.query(`CREATE DATABASE ${database}`);
    const url = new URL(site.config.postgres.url);
    url.pathname = `/${database}`;
    const later = openPool({ url: url.href });
    const config = {
      ...site.config,
      postgres: { ...site.config.postgres, url: url.href },
      topics: { ...site.config.topics, positions: `${site.name}.later.positions` },
      tables: site.config.tables.map((table) => ({ ...table, topic: `${site.name}_later_changes` })),
    };
    const service = await startService(config);
    t.after(async () => {
      await service.stop();
      await later.end();
      await site.pool.query(`DROP DATABASE ${database} WITH (FORCE)`);
      await site.drop();
    });
    await until('readiness to say that setup is missing', async () => {
      const { status, parts } = await service.readyz();
      const asking = Object.values(parts).filter(({ remedy }) => remedy?.includes('deltaferry setup'));
      return status === 503 && asking.length === 2 && asking.every(({ ready }) => !ready);
    });
    assert.equal((await setupTables(config)).outcome, 'done');
    await until('the service to be ready', async () => {
      return (await service.readyz()).status === 200;
    });
    await site.warehouse.query({
      doing: 'a test',
      sql: `INSERT INTO ${site.deltaTable} VALUES (1, 'Ann', 10.00)`,
    });
    await until('the change to be in the history', async () => {
      const { rows } = await later.query('SELECT FROM public.employees WHERE emp_id = 1');
      return rows.length === 1;
    });
  });
});
