// The local warehouse through the real, unmodified client: what a user's statements mean must be what they mean on
// Databricks, or everything that is tested on it proves nothing.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DBSQLParameter, DBSQLParameterType as Type } from '@databricks/sql';
import { until } from '../support/until.ts';
import { rows, startWarehouse, type Operation, type Session, type Warehouse } from './warehouse-process.ts';

let warehouse: Warehouse;
let session: Session;

before(async () => {
  warehouse = await startWarehouse();
  session = await warehouse.session();
});
after(() => warehouse?.stop());

const first = async (sql: string, options?: Parameters<typeof rows>[2]) =>
  (await rows(session, sql, options))[0];

type StatementError = Error & { response?: { sqlState?: string | null; errorMessage?: string | null } };

describe('sessions', () => {
  test('settings, temporary views and the current schema belong to one session, tables to all', async () => {
    const other = await warehouse.session();
    await rows(session, 'CREATE SCHEMA IF NOT EXISTS mine');
    await rows(session, 'CREATE TABLE mine.shared USING DELTA AS SELECT 1 AS a');
    await rows(session, 'SET deltaferry.test = 1');
    await rows(session, 'CREATE TEMPORARY VIEW only_here AS SELECT 1 AS a');
    await rows(session, 'USE SCHEMA mine');
    try {
      assert.equal((await rows(other, 'SET deltaferry.test'))[0]?.['value'], '<undefined>');
      await assert.rejects(rows(other, 'SELECT * FROM only_here'), /TABLE_OR_VIEW_NOT_FOUND/);
      assert.deepEqual(await rows(other, 'SELECT current_schema() AS s'), [{ s: 'default' }]);
      assert.deepEqual(await rows(other, 'SELECT * FROM mine.shared'), [{ a: 1 }]);
      assert.deepEqual(await rows(session, 'SELECT * FROM shared'), [{ a: 1 }]);
    } finally {
      await rows(session, 'USE SCHEMA default');
    }
  });

  test('a session opens in a schema and with settings, or says why not', async () => {
    await rows(session, 'CREATE SCHEMA IF NOT EXISTS opened');
    const own = await warehouse.session({ schema: 'opened', configuration: { 'deltaferry.test': 'x' } });
    assert.deepEqual(await rows(own, 'SELECT current_schema() AS s'), [{ s: 'opened' }]);
    assert.equal((await rows(own, 'SET deltaferry.test'))[0]?.['value'], 'x');
    await assert.rejects(warehouse.session({ schema: 'nowhere' }), { message: /^\[SCHEMA_NOT_FOUND\]/ });
  });

  test('a wrong token opens nothing', async () => {
    await assert.rejects(warehouse.session({ token: 'wrong' }), /bad HTTP status code: 403/);
  });

  test('a session that the server does not know is refused by name', async () => {
    const forgotten = await warehouse.session();
    const { backend } = forgotten as unknown as {
      backend: { sessionHandle: { sessionId: { guid: Buffer } } };
    };
    const known = backend.sessionHandle.sessionId.guid;
    const unknown = randomBytes(16);
    unknown[6] = 0x40; // a version 4 UUID, or the client does not print it
    unknown[8] = 0x80;
    backend.sessionHandle.sessionId.guid = unknown;
    await assert.rejects(rows(forgotten, 'SELECT 1'), { message: /^Invalid SessionHandle/ });
    backend.sessionHandle.sessionId.guid = known;
  });

  test('the catalogue is listed', async () => {
    await rows(session, 'CREATE SCHEMA IF NOT EXISTS listed');
    await rows(session, 'CREATE TABLE listed.a_table (id BIGINT, price DECIMAL(12,2)) USING DELTA');
    const all = async (operation: Operation) =>
      ((await operation.fetchAll()) as Record<string, unknown>[]).map((row) => Object.values(row));
    assert.deepEqual(await all(await session.getCatalogs()), [['spark_catalog']]);
    assert.deepEqual(await all(await session.getSchemas({ schemaName: 'list%' })), [
      ['listed', 'spark_catalog'],
    ]);
    const table = { schemaName: 'listed', tableName: '%' };
    assert.deepEqual(await all(await session.getTables(table)), [
      ['spark_catalog', 'listed', 'a_table', 'TABLE', ''],
    ]);
    assert.deepEqual(await all(await session.getColumns({ ...table, columnName: 'pri__' })), [
      ['spark_catalog', 'listed', 'a_table', 'price', 'DECIMAL(12,2)', 2, 'YES'],
    ]);
  });
});

describe('parameters', () => {
  const cases: [
    name: string,
    value: unknown,
    type: Type | undefined,
    sqlType: string,
    text: string | null,
  ][] = [
    ['integer', 42, undefined, 'int', '42'],
    ['bigint beyond 2^53', 9007199254740993n, undefined, 'bigint', '9007199254740993'],
    ['double', 0.1, undefined, 'double', '0.1'],
    ['boolean', false, undefined, 'boolean', 'false'],
    ['string with quotes', `it's "x" \\ ; -- ?`, undefined, 'string', `it's "x" \\ ; -- ?`],
    ['empty string', '', undefined, 'string', ''],
    ['unicode', 'Zoë 🚀 日本', undefined, 'string', 'Zoë 🚀 日本'],
    ['null', null, undefined, 'void', null],
    ['tinyint', -128, Type.TINYINT, 'tinyint', '-128'],
    ['smallint', 32767, Type.SMALLINT, 'smallint', '32767'],
    ['float', '1.5', Type.FLOAT, 'float', '1.5'],
    [
      'decimal',
      '-12345678901234567890.123456',
      Type.DECIMAL,
      'decimal(26,6)',
      '-12345678901234567890.123456',
    ],
    ['date', '2024-02-29', Type.DATE, 'date', '2024-02-29'],
    ['Date', new Date('2024-01-02T03:04:05.678Z'), undefined, 'timestamp', '2024-01-02 03:04:05.678'],
    ['timestamp', '2024-01-02 03:04:05.678901', Type.TIMESTAMP, 'timestamp', '2024-01-02 03:04:05.678901'],
    [
      'wall clock',
      '2024-01-02 03:04:05.000001',
      Type.TIMESTAMP_NTZ,
      'timestamp_ntz',
      '2024-01-02 03:04:05.000001',
    ],
  ];
  for (const [name, value, type, sqlType, text] of cases) {
    test(`${name}, by name and by position`, async () => {
      const bound = new DBSQLParameter({ ...(type === undefined ? {} : { type }), value: value as string });
      const expected = { type: sqlType, text };
      const named = { namedParameters: { p: bound } };
      const ordinal = { ordinalParameters: [bound, bound] };
      assert.deepEqual(await first('SELECT typeof(:p) type, string(:p) text', named), expected);
      assert.deepEqual(await first('SELECT typeof(?) type, string(?) text', ordinal), expected);
    });
  }

  test('one that is no value of its type is an error of that value', async () => {
    const bad = new DBSQLParameter({ type: Type.INTEGER, value: 'abc' });
    await assert.rejects(first('SELECT :p', { namedParameters: { p: bad } }), /CAST_INVALID_INPUT.*'abc'/);
  });
});

test('values arrive as they were stored, to the last digit', async () => {
  await rows(
    session,
    `CREATE TABLE exact (k INT, big BIGINT, dec DECIMAL(38,18), wide DECIMAL(38,0), t TIMESTAMP, ntz TIMESTAMP_NTZ,
     d DATE, dbl DOUBLE, flt FLOAT, flag BOOLEAN, bytes BINARY, text STRING) USING DELTA`,
  );
  await rows(
    session,
    `INSERT INTO exact VALUES
     (1, 9223372036854775807, 12345678901234567890.123456789012345678, -99999999999999999999999999999999999999,
      '2024-05-06 07:08:09.123456', '1999-12-31 23:59:59.999999', '0001-01-01', double('NaN'), float('Infinity'),
      true, X'00FF10', 'naïve 🚀'),
     (2, -9007199254740993, 0.000000000000000001, 0, '1900-01-01 00:00:00.000001', '0001-01-01 00:00:00',
      '9999-12-31', double('-Infinity'), 0.5, false, X'', ''),
     (3, null, null, null, null, null, null, null, null, null, null, null)`,
  );
  const stored = await rows(
    session,
    `SELECT big, dec, wide, unix_micros(t) t_us, string(ntz) ntz, string(d) d, dbl, flt, flag, bytes, text
     FROM exact ORDER BY k`,
  );
  const none = Object.fromEntries(Object.keys(stored[0] ?? {}).map((column) => [column, null]));
  assert.deepEqual(stored, [
    {
      big: 9223372036854775807n,
      dec: '12345678901234567890.123456789012345678',
      wide: '-99999999999999999999999999999999999999',
      t_us: 1714979289123456n,
      ntz: '1999-12-31 23:59:59.999999',
      d: '0001-01-01',
      dbl: NaN,
      flt: Infinity,
      flag: true,
      bytes: Buffer.from([0, 255, 16]),
      text: 'naïve 🚀',
    },
    {
      big: -9007199254740993n,
      dec: '0.000000000000000001',
      wide: '0',
      t_us: -2208988799999999n,
      ntz: '0001-01-01 00:00:00',
      d: '9999-12-31',
      dbl: -Infinity,
      flt: 0.5,
      flag: false,
      bytes: Buffer.alloc(0),
      text: '',
    },
    none,
  ]);
  assert.deepEqual(
    await first(`SELECT t, d, array(1, null) a, named_struct('x', 1) s, NULL AS n FROM exact WHERE k = 1`),
    {
      t: new Date('2024-05-06T07:08:09.123Z'),
      d: new Date('0001-01-01'),
      a: [1, null],
      s: { x: 1 },
      n: null,
    },
  );
});

describe('large results', () => {
  const spilled = async () => (await readdir(join(warehouse.home, 'results'))).length;

  test('300,000 ordered rows arrive whole and in order, from disk, and leave nothing there', async () => {
    const operation = await session.executeStatement(
      `SELECT id, repeat('x', 100) AS pad FROM range(0, 300000, 1, 8) ORDER BY id DESC`,
    );
    let next = 299_999n;
    do {
      const chunk = (await operation.fetchChunk({ maxRows: 50_000 })) as { id: bigint; pad: string }[];
      for (const row of chunk) {
        if (row.id !== next || row.pad.length !== 100) assert.fail(`row ${next} is ${row.id}`);
        next -= 1n;
      }
      if (next > 200_000n) assert.equal(await spilled(), 1);
    } while (await operation.hasMoreRows());
    assert.equal(next, -1n);
    await operation.close();
    assert.equal(await spilled(), 0);
  });

  test('partitions that end in any order keep the order of the query', async () => {
    // The first partition takes a second longer than the others.
    const slow = 'aggregate(sequence(1, 200000), id, (a, x) -> a + x)';
    const sql = `SELECT id FROM range(0, 40, 1, 4) WHERE IF(id < 10, ${slow}, 1) > 0`;
    const ids = (await rows(session, sql)).map((row) => Number(row['id']));
    assert.deepEqual(
      ids,
      Array.from({ length: 40 }, (_, i) => i),
    );
  });

  test('rows of a megabyte each do not need the whole result in memory', async () => {
    const operation = await session.executeStatement(
      `SELECT id, repeat('x', 1000000) AS pad FROM range(0, 60, 1, 1)`,
    );
    let count = 0;
    do count += (await operation.fetchChunk({ maxRows: 10 })).length;
    while (await operation.hasMoreRows());
    await operation.close();
    assert.equal(count, 60);
  });
});

describe('errors carry their text and SQLSTATE', () => {
  const cases: [sql: string, text: RegExp, sqlState: string][] = [
    ['SELECT * FROM nope', /^\[TABLE_OR_VIEW_NOT_FOUND\] The table or view `nope` cannot be found/, '42P01'],
    ['SELEC 1', /^\[PARSE_SYNTAX_ERROR\] Syntax error at or near 'SELEC'/, '42601'],
    ['SELECT 1 / id FROM range(2)', /^\[DIVIDE_BY_ZERO\]/, '22012'],
    [`SELECT int(string(id) || 'x') FROM range(2)`, /^\[CAST_INVALID_INPUT\] The value '[01]x'/, '22018'],
    [`SELECT raise_error('my own words') FROM range(1)`, /^\[USER_RAISED_EXCEPTION\] my own words/, 'P0001'],
    ['SELECT * FROM exact VERSION AS OF 99', /^\[DELTA_VERSION_NOT_FOUND\]/, '22003'],
  ];
  for (const [sql, text, sqlState] of cases) {
    test(sql, async () => {
      await assert.rejects(rows(session, sql), (error: StatementError) => {
        assert.match(error.message, text);
        assert.equal(error.response?.sqlState, sqlState);
        return true;
      });
    });
  }
});

describe('statements that are stopped', () => {
  // Hours of work for both cores: nothing else runs until it is gone.
  const endless =
    'SELECT max(a.id % 7 + b.id) AS m FROM range(0, 10000000000000, 1, 4) a JOIN range(0, 10) b ON a.id % 10 = b.id';
  const start = async (on: Session) => {
    const operation = await on.executeStatement(endless, { maxRows: null });
    const running = 1; // TOperationState.RUNNING_STATE
    await until(
      'the statement runs',
      async () => Number((await operation.status()).operationState) === running,
    );
    return operation;
  };
  const bothCoresAreFree = async () =>
    assert.deepEqual(await first('SELECT count(*) AS n FROM range(0, 1000, 1, 4)'), { n: 1000n });

  test('a cancelled one says so and frees what it used', { timeout: 30_000 }, async () => {
    const operation = await start(session);
    const waiting = operation.fetchAll();
    const refused = assert.rejects(waiting, /canceled/);
    await operation.cancel();
    await refused;
    await bothCoresAreFree();
  });

  test('closing its session stops it', { timeout: 30_000 }, async () => {
    const own = await warehouse.session();
    await start(own);
    await own.close();
    await bothCoresAreFree();
  });

  const limits = [
    { name: 'the statement', configuration: {}, options: { queryTimeout: 1 } },
    { name: 'the session', configuration: { STATEMENT_TIMEOUT: '1' }, options: {} },
  ];
  for (const { name, configuration, options } of limits) {
    test(`one past the time limit of ${name} fails`, { timeout: 30_000 }, async () => {
      const own = await warehouse.session({ configuration });
      await assert.rejects(rows(own, endless, options), (error: StatementError) => {
        assert.match(error.message, /timed out/);
        assert.equal(error.response?.sqlState, '57014');
        return true;
      });
      await bothCoresAreFree();
    });
  }
});
