import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Change } from '../../../src/change/change.ts';
import type { TableMapping } from '../../../src/change/table.ts';
import { createReconcile, type ReconcileOptions } from '../../../src/connections/postgres/load-reconcile.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import type { Load, OnCompared } from '../../../src/ports/load.ts';
import { seededRandom } from '../../support/change-generator.ts';
import { expectedHistory } from '../../support/oracle.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { change, createEmployees, EMPLOYEES, EPOCH, openApplier, shown, type Applier } from './employees.ts';
import { UNSEEN } from '../../support/load-seen.ts';

const KEYS = 1200;
const KEYS_PER_RANGE = 170;
/** The load is of this time; changes are between 1 and 14. */
const AT = 7;
const SEED = Number(process.env['TEST_SEED'] ?? Date.now() % 1_000_000);

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(async () => await database.drop());

interface Life {
  /** In the order in which they are applied. */
  readonly changes: readonly Change[];
  /** What the load says; null: nothing. */
  readonly asserted: string | null;
}

function lives(random: () => number): Life[] {
  const below = (limit: number): number => Math.floor(random() * limit);
  const image = (): string | null => ['A', 'B', 'C', null][below(4)]!;
  return Array.from({ length: KEYS }, (_, emp) => {
    const changes = Array.from({ length: below(6) }, () => change(emp, 1 + below(14), image()));
    // Most loads say what the changes say.
    const wanted = random() < 0.5 ? (stateAt(changes)?.name ?? null) : image();
    return { changes, asserted: wanted };
  });
}

function stateAt(changes: readonly Change[]) {
  const time = AT + EPOCH;
  return expectedHistory(changes).versions.find(({ from, to }) => from <= time && (to === null || to > time));
}

/** The change that the load comes to; null where it says what is there. */
function assertion(emp: number, { changes, asserted }: Life): Change | null {
  const now = stateAt(changes);
  if ((now?.name ?? null) === asserted) return null;
  return change(emp, AT, asserted);
}

async function beside(table: string, all: readonly Life[]): Promise<Load> {
  const id = table;
  const rows = all.flatMap(({ asserted }, emp) => (asserted === null ? [] : [{ emp, asserted }]));
  await database.pool.query(
    `CREATE UNLOGGED TABLE deltaferry."load_${id}" AS SELECT emp_id, name, salary FROM ${table} WITH NO DATA`,
  );
  await database.pool.query(
    `INSERT INTO deltaferry."load_${id}" SELECT emp, name, 10.50 FROM unnest($1::bigint[], $2::text[]) AS g(emp, name)`,
    [rows.map(({ emp }) => emp), rows.map(({ asserted }) => asserted)],
  );
  return loadOf(id, table, rows.length);
}

function loadOf(id: string, target: string, rows: number): Load {
  return {
    id,
    recordsOf: id,
    name: 'employees',
    target,
    topic: 'employees_backfill',
    source: 'delta',
    way: 'reconcile',
    captured: false,
    logPosition: null,
    phase: 'handover',
    pinned: { tableId: 'table-1', version: 9, ts: AT + EPOCH, rows },
    startOffsets: null,
    liveOffsets: null,
    endOffsets: null,
    publishedRows: rows,
    rejectedRows: 0,
    appliedRows: rows,
    startedAt: '',
    error: null,
    seen: UNSEEN,
  };
}

function reconciler(topic: string, more: Partial<ReconcileOptions> = {}) {
  const compare = createReconcile({
    pool: database.pool,
    mapping: EMPLOYEES,
    origin: 'delta',
    consumers: { group: 'employees-postgres', topic },
    keysPerRange: KEYS_PER_RANGE,
    ...more,
  });
  return (load: Load, onDone: OnCompared = () => {}) => compare(load, onDone, new AbortController().signal);
}

function reconcile(load: Load, topic: string, onDone?: OnCompared) {
  return reconciler(topic)(load, onDone);
}

async function judge(table: string, told: readonly Change[]): Promise<void> {
  const expected = expectedHistory(told);
  const micros = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::bigint - ${EPOCH}`;
  const versions = await database.pool.query<{ line: string }>(
    `SELECT emp_id || ' ' || name || ' [' || ${micros('on_date')} || ',' || coalesce((${micros('off_date')})::text, '') || ')'
            || CASE WHEN is_active = (off_date IS NULL) THEN '' ELSE ' flag' END AS line FROM ${table} ORDER BY 1`,
  );
  const line = (at: number | null): string => (at === null ? '' : String(at - EPOCH));
  assert.deepEqual(
    versions.rows.map((row) => row.line).sort(),
    expected.versions.map(({ key, name, from, to }) => `${key} ${name} [${line(from)},${line(to)})`).sort(),
    `seed ${SEED} (set TEST_SEED)`,
  );
  const orphans = await database.pool.query<{ line: string }>(
    `SELECT key || ' @' || ${micros('ts')} AS line FROM deltaferry.orphan_deletes WHERE target = $1`,
    [table],
  );
  assert.deepEqual(
    orphans.rows.map((row) => row.line).sort(),
    expected.orphanDeletes.map(({ key, ts }) => `${key} @${line(ts)}`).sort(),
    `seed ${SEED} (set TEST_SEED)`,
  );
}

async function applyAll(applier: Applier, changes: readonly Change[], size: number): Promise<void> {
  for (let at = 0; at < changes.length; at += size) await applier.apply(...changes.slice(at, at + size));
}

describe('a load compared with a table that holds rows', () => {
  it('any history and any load: the table says of that time what the load says, and of all others what it said', async () => {
    const table = 'compared';
    await createEmployees(database.pool, table);
    const all = lives(seededRandom(SEED));
    const applier = await openApplier(database.pool, table);
    const changes = all.flatMap((life) => life.changes);
    await applyAll(applier, changes, 400);
    const load = await beside(table, all);
    const asserted = all.flatMap((life, emp) => assertion(emp, life) ?? []);

    const done = await reconcile(load, `changes of ${table} `);
    await judge(table, [...changes, ...asserted]);
    assert.equal(done.ended, asserted.filter(({ op }) => op === 'delete').length);
    assert.equal(done.added + done.corrected, asserted.filter(({ op }) => op !== 'delete').length);
    for (const [what, n] of Object.entries(done)) assert.ok(n > KEYS / 50, `only ${n} ${what}`);

    // Stopped at the end and done again: nothing is left to do.
    const compared: number[] = [];
    const again = await reconcile(load, `changes of ${table} `, (rows) => compared.push(rows));
    assert.deepEqual(again, { added: 0, corrected: 0, ended: 0 });
    assert.deepEqual([compared[0], compared.at(-1)], [KEYS_PER_RANGE, load.publishedRows]);
    await judge(table, [...changes, ...asserted]);
  });

  it('while changes from after that time are applied', async () => {
    const table = 'compared_live';
    await createEmployees(database.pool, table);
    const all = lives(seededRandom(SEED + 1));
    const early = all.map(({ changes, asserted }) => ({
      changes: changes.filter(({ ts }) => Number(ts) <= AT + EPOCH),
      asserted,
    }));
    const late = all.flatMap(({ changes }) => changes.filter(({ ts }) => Number(ts) > AT + EPOCH));
    const applier = await openApplier(database.pool, table);
    const changes = early.flatMap((life) => life.changes);
    await applyAll(applier, changes, 400);
    const load = await beside(table, early);
    const asserted = early.flatMap((life, emp) => assertion(emp, life) ?? []);

    let left = true;
    const comparing = reconcile(load, `changes of ${table} `).finally(() => (left = false));
    let meanwhile = 0;
    const applying = (async () => {
      for (let at = 0; at < late.length; at += 25) {
        await applier.apply(...late.slice(at, at + 25));
        if (left) meanwhile += 1;
      }
    })();
    await Promise.all([comparing, applying]);
    assert.ok(meanwhile > 1, 'nothing was applied meanwhile');
    await judge(table, [...changes, ...asserted, ...late]);
  });

  it('a row that ends may hold what Delta cannot, and none ends where rows of the load were set aside', async () => {
    const table = 'set_aside';
    await createEmployees(database.pool, table);
    await database.pool.query(
      `INSERT INTO ${table} VALUES (1, 'kept', 10.50, true, '2020-01-01Z', NULL), (2, 'gone', 'NaN', true, '2020-01-01Z', NULL)`,
    );
    const current = async (): Promise<number[]> => {
      const { rows } = await database.pool.query<{ emp_id: string }>(
        `SELECT emp_id FROM ${table} WHERE off_date IS NULL ORDER BY emp_id`,
      );
      return rows.map(({ emp_id }) => Number(emp_id));
    };
    const kept: Life = { changes: [], asserted: 'kept' };
    const load = await beside(table, [{ changes: [], asserted: null }, kept]);
    // The second is in Delta too, with a value that the table refuses.
    const partly = await reconcile({ ...load, rejectedRows: 1 }, `changes of ${table} `);
    assert.deepEqual([partly, await current()], [{ added: 0, corrected: 0, ended: 0 }, [1, 2]]);
    const whole = await reconcile(load, `changes of ${table} `);
    assert.deepEqual([whole, await current()], [{ added: 0, corrected: 0, ended: 1 }, [1]]);
  });

  it('texts that a collation takes for equal are not what Delta holds', async () => {
    const table = 'any_case';
    await createEmployees(database.pool, table);
    await database.pool.query(
      `CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
    );
    await database.pool.query(`ALTER TABLE ${table} ALTER name TYPE text COLLATE any_case`);
    const applier = await openApplier(database.pool, table);
    await applier.apply(change(0, 1, 'ann'), change(1, 1, 'Bob'), change(2, AT, 'cid'));
    const load = await beside(table, [
      { changes: [], asserted: 'Ann' },
      { changes: [], asserted: 'Bob' },
      { changes: [], asserted: 'Cid' },
    ]);
    const done = await reconcile(load, `changes of ${table} `);
    assert.deepEqual(done, { added: 0, corrected: 2, ended: 0 });
    const texts = await Promise.all([0, 1, 2].map((emp) => shown(database.pool, table, emp)));
    assert.deepEqual(texts, [`ann[1,${AT}) Ann[${AT},)`, 'Bob[1,)', `Cid[${AT},)`]);
    await applier.apply(change(1, 1, 'bob'));
    assert.equal(await shown(database.pool, table, 1), 'bob[1,)');
  });

  it('no transaction ends more keys than a range may have, nor takes more bytes of the load, or one row', async () => {
    const table = 'bounded';
    await createEmployees(database.pool, table);
    const wide = 'w'.repeat(1000);
    const all = Array.from({ length: 1000 }, (_, emp): Life => {
      const asserted = emp < 200 ? (emp === 7 ? wide.repeat(100) : wide) : null;
      return { changes: [change(emp, 1, 'A')], asserted };
    });
    const applier = await openApplier(database.pool, table);
    await applyAll(
      applier,
      all.flatMap(({ changes }) => changes),
      400,
    );
    const load = await beside(table, all);
    const seen: number[] = [];
    const done = await reconciler(`changes of ${table} `, { bytesPerRange: 50_000 })(load, (compared) =>
      seen.push(compared),
    );
    assert.deepEqual(done, { added: 0, corrected: 200, ended: 800 });
    assert.deepEqual(
      seen,
      seen.toSorted((one, other) => one - other),
    );
    assert.equal(seen.at(-1), 200);
    // Each transaction leaves its number in what it wrote.
    const most = async (condition: string, what: string): Promise<number> => {
      const { rows } = await database.pool.query<{ most: string }>(
        `SELECT max(n) AS most FROM (SELECT ${what} AS n FROM ${table} WHERE ${condition} GROUP BY xmin::text) each`,
      );
      return Number(rows[0]!.most);
    };
    assert.equal(await most(`emp_id >= 200`, 'count(*)'), KEYS_PER_RANGE);
    const bytes = await most(`off_date IS NULL AND emp_id <> 7`, 'sum(octet_length(name))');
    assert.ok(bytes > 25_000 && bytes <= 50_000, `${bytes} bytes`);
  });

  it('goes on where it was when a connection breaks, and counts each key once', async () => {
    const table = 'broken';
    await createEmployees(database.pool, table);
    const all = Array.from({ length: KEYS }, (): Life => ({ changes: [], asserted: 'new' }));
    const load = await beside(table, all);
    let left = 9;
    const pool = new Proxy(database.pool, {
      get(of, name) {
        const found: unknown = Reflect.get(of, name);
        if (name !== 'connect') return typeof found === 'function' ? (found.bind(of) as unknown) : found;
        return async () => {
          if (left-- === 0) throw Object.assign(new Error('connection reset'), { code: 'ECONNRESET' });
          return await of.connect();
        };
      },
    });
    const compare = reconciler(`changes of ${table} `, { pool });
    const seen: number[] = [];
    const onDone: OnCompared = (compared) => seen.push(compared);
    await assert.rejects(compare(load, onDone), { kind: 'transient' });
    assert.ok(seen.length > 0 && seen.at(-1)! < KEYS, String(seen));
    assert.deepEqual(await compare(load, onDone), { added: KEYS, corrected: 0, ended: 0 });
    assert.deepEqual(
      seen,
      seen.toSorted((one, other) => one - other),
    );
  });

  it('does not try for ever what runs into a unique index of somebody’s own', async () => {
    const table = 'unique_names';
    await createEmployees(database.pool, table);
    await database.pool.query(`CREATE UNIQUE INDEX one_of_a_name ON ${table} (name)`);
    const load = await beside(table, [
      { changes: [], asserted: 'Ann' },
      { changes: [], asserted: 'Ann' },
    ]);
    await assert.rejects(reconcile(load, `changes of ${table} `), /one_of_a_name/);
  });

  it('a table whose off_date has a default gets current versions', async () => {
    const table = 'with_default';
    await createEmployees(database.pool, table);
    await database.pool.query(`ALTER TABLE ${table} ALTER off_date SET DEFAULT 'infinity'`);
    const load = await beside(table, [{ changes: [], asserted: 'new' }]);
    assert.equal((await reconcile(load, `changes of ${table} `)).added, 1);
    const { rows } = await database.pool.query(`SELECT is_active, off_date FROM ${table}`);
    assert.deepEqual(rows, [{ is_active: true, off_date: null }]);
  });

  it('keys of several columns, and what JSON escapes in them', async () => {
    const mapping: TableMapping = {
      name: 'offices',
      key: ['city', 'number'],
      columns: [
        { name: 'number', type: { name: 'integer' } },
        { name: 'city', type: { name: 'varchar', length: 20 } },
        { name: 'phone', type: { name: 'text' } },
      ],
    };
    await database.pool.query(
      `CREATE TABLE offices (number int, city varchar(20), phone text, is_active boolean, on_date timestamptz, off_date timestamptz,
                             PRIMARY KEY (city, number, on_date))`,
    );
    const cities = ['a"b', 'tab\there', 'Zürich', 'back\\slash', '😀', '', '\u0001', '\u007f'];
    const rows = cities.flatMap((city) => [1, 2].map((number) => ({ city, number })));
    await database.pool.query(
      `CREATE UNLOGGED TABLE deltaferry."load_offices" AS
       SELECT number, city::varchar(20), 'new' AS phone FROM unnest($1::int[], $2::text[]) AS g(number, city)`,
      [rows.map(({ number }) => number), rows.map(({ city }) => city)],
    );
    // A delete after the load's time that nothing came before: it must end the row that the load brings.
    await database.pool.query(
      `INSERT INTO deltaferry.orphan_deletes (target, key, ts) SELECT 'offices', key, '2025-06-01Z' FROM unnest($1::text[]) AS key`,
      [
        rows
          .filter(({ number }) => number === 1)
          .map(({ city, number }) => JSON.stringify([city, String(number)])),
      ],
    );
    await database.pool.query(`INSERT INTO offices VALUES (3, 'gone', 'old', true, '2020-01-01Z', NULL)`);
    const load = loadOf('offices', 'offices', rows.length);
    const done = await createReconcile({
      pool: database.pool,
      mapping,
      origin: 'delta',
      consumers: { group: 'employees-postgres', topic: 'none' },
      keysPerRange: 3,
    })(load, () => {}, new AbortController().signal);
    assert.deepEqual(done, { added: cities.length, corrected: cities.length, ended: 1 });
    const found = await database.pool.query<{ number: number; city: string; until: string | null }>(
      'SELECT number, city, off_date::date::text AS until FROM offices',
    );
    const line = (city: string, number: number, until: string | null): string =>
      JSON.stringify([city, number, until]);
    assert.deepEqual(
      found.rows.map(({ city, number, until }) => line(city, number, until)).sort(),
      [
        line('gone', 3, '2025-01-01'),
        ...rows.map(({ city, number }) => line(city, number, number === 1 ? '2025-06-01' : null)),
      ].sort(),
    );
    const left = await database.pool.query(`SELECT FROM deltaferry.orphan_deletes WHERE target = 'offices'`);
    assert.equal(left.rowCount, 0);
  });
});
