// Were one of these to fail, a value would be another in Delta than it was in Postgres, or a row another's.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Change, Row, Value } from '../../../src/change/change.ts';
import { keyOf } from '../../../src/change/key.ts';
import type { ColumnType, TableMapping } from '../../../src/change/table.ts';
import { deltaTypeOf, parseColumnType, parseExchange } from '../../../src/change/types.ts';
import { createDeltaSource } from '../../../src/connections/databricks/delta-source.ts';
import type { Merged } from '../../../src/ports/merge-sink.ts';
import { TYPE_CASES } from '../../change/type-cases.ts';
import { partOf } from '../../support/merge-sink-contract.ts';
import { rows } from '../../producers/delta-source-contract.ts';
import { MERGE, openMergeSite, tapped, upsert, type MergeSite } from './merge-sinks.ts';

let site: MergeSite;
before(async () => {
  site = await openMergeSite();
});
after(() => site?.close());

const forever = new AbortController().signal;
const WAYS = ['inline', 'staged'] as const;
const optionsOf = (way: (typeof WAYS)[number]) =>
  way === 'inline' ? { inlineBytes: 1_000_000 } : { inlineBytes: 0, stagingVolume: site.volume };

function tableOf(mapping: TableMapping, more = ''): Promise<string> {
  const columns = mapping.columns.map(({ name, type }) => `\`${name}\` ${deltaTypeOf(type)}`);
  return site.warehouse.table(columns.join(', ') + more);
}

function gone(mapping: TableMapping, row: Row): Change {
  return { ...upsert(keyOf(mapping)(row), null), op: 'delete', before: row };
}

const put = (mapping: TableMapping, row: Row): Change => upsert(keyOf(mapping)(row), row);

async function lastVersion(table: string): Promise<number> {
  const [newest] = await site.warehouse.sql(`DESCRIBE HISTORY ${table} LIMIT 1`);
  return Number(newest?.['version']);
}

describe('a delete of a row that is not told', () => {
  const mapping: TableMapping = {
    name: 'days',
    key: ['day', 'place'],
    columns: [
      { name: 'note', type: { name: 'text' } },
      { name: 'place', type: { name: 'text' } },
      { name: 'day', type: { name: 'date' } },
    ],
  };

  it('finds it by the key of the record; what is merged with it goes on', async () => {
    const table = await tableOf(mapping);
    const sink = site.sink(table, mapping);
    await sink.claim([0], () => 0n);
    const there: readonly Row[] = [
      ['x', 'Zürich "1"', 20_000],
      ['y', 'Zürich "1"', 20_001],
    ];
    await sink.merge([partOf(0, 0, 2, ...there.map((row) => put(mapping, row)))], forever);
    const untold = { ...gone(mapping, there[0]!), before: null };
    const done = await sink.merge([partOf(0, 2, 4, untold, put(mapping, ['z', '', 0]))], forever);
    assert.deepEqual([done.inserted, done.deleted], [1, 1]);
    const rows = await site.warehouse.sql(`SELECT note FROM ${table} ORDER BY note`);
    assert.deepEqual(
      rows.map(({ note }) => note),
      ['y', 'z'],
    );
  });
});

describe('every end of every type', () => {
  const mapping: TableMapping = {
    name: 'everything',
    key: ['id'],
    columns: [
      { name: 'id', type: { name: 'integer' } },
      ...Object.values(TYPE_CASES).map(({ type }, index) => ({
        name: `v${index}`,
        type: parseColumnType(type),
      })),
      { name: 'wide', type: parseColumnType('numeric(38,20)') },
      { name: 'whole', type: parseColumnType('numeric(38,0)') },
    ],
  };
  const more: readonly (readonly [column: string, exchange: string])[] = [
    ['wide', '-999999999999999999.99999999999999999999'],
    ['wide', '0.00000000000000000001'],
    ['whole', '99999999999999999999999999999999999999'],
    ...['a\nb\r\nc\td', '{"c0":"1"}', '\u2028 \u0085 \u0001', `'"\\\``, 'null', ' ', 'NULL'].map(
      (text) => ['v7', text] as const,
    ),
  ];
  const cases = [
    ...Object.values(TYPE_CASES).flatMap(({ accepted }, index) =>
      accepted.map(({ exchange }) => ({ column: index + 1, exchange })),
    ),
    ...more.map(([name, exchange]) => ({
      column: mapping.columns.findIndex((column) => column.name === name),
      exchange,
    })),
  ];
  const valueOf = ({ column, exchange }: (typeof cases)[number]): Value =>
    parseExchange(mapping.columns[column]!.type, exchange);
  const images: readonly Row[] = cases.map((found, id) =>
    mapping.columns.map((_, at) => (at === 0 ? id : at === found.column ? valueOf(found) : null)),
  );

  it('the text column that the odd texts go into is one', () => {
    assert.equal(mapping.columns.find(({ name }) => name === 'v7')?.type.name, 'text');
  });

  for (const way of WAYS)
    it(`reaches Delta ${way}, and is read from there, unchanged`, async () => {
      const table = await tableOf(mapping);
      const sink = site.sink(table, mapping, optionsOf(way));
      await sink.claim([0], () => 0n);
      const source = createDeltaSource({ client: site.warehouse.client, table, mapping });
      const changes = images.map((row) => put(mapping, row));
      const done = await sink.merge([partOf(0, 0, 1, ...changes)], forever);
      assert.deepEqual([done.inserted, done.sent], [images.length, way]);
      const inserted = await lastVersion(table);
      assert.deepEqual(
        (await rows(source, inserted, inserted)).map(({ row, invalid }) => [row, invalid]),
        images.map((row) => [row, null]),
      );
      // As an update of other values: each row gets that of its neighbour.
      const moved = images.map((_, id) => [id, ...images[(id + 1) % images.length]!.slice(1)]);
      assert.equal(
        (await sink.merge([partOf(0, 1, 2, ...moved.map((row) => put(mapping, row)))], forever)).updated,
        images.length,
      );
      const updated = await lastVersion(table);
      assert.deepEqual(
        (await rows(source, updated, updated)).flatMap(({ type, row }) =>
          type === 'update_postimage' ? [row] : [],
        ),
        moved,
      );
    });
});

describe('a key', () => {
  const kinds: readonly { type: ColumnType; values: readonly [Value, ...Value[]] }[] = [
    { type: { name: 'bigint' }, values: [2n ** 63n - 1n, -(2n ** 63n), 9_007_199_254_740_993n, 2 ** 53] },
    { type: { name: 'integer' }, values: [-2_147_483_648, 0, 2_147_483_647] },
    { type: { name: 'smallint' }, values: [-32_768, 0, 32_767] },
    { type: { name: 'text' }, values: ['', ' ', 'a', 'A', 'a ', 'é', 'e\u0301', '1', '01', '👩‍🚀', '1.0'] },
    { type: { name: 'varchar', length: 3 }, values: ['', 'a', 'a ', 'A'] },
    {
      type: { name: 'uuid' },
      values: ['aaaaaaaa-0000-0000-0000-00000000000a', 'aaaaaaaa-0000-0000-0000-00000000000b'],
    },
    { type: { name: 'date' }, values: [-719_162, 0, 2_932_896] },
  ];
  const mapping: TableMapping = {
    name: 'keyed',
    key: [...kinds.map(({ type }) => type.name), 'n'],
    columns: [
      { name: 'v', type: { name: 'text' } },
      { name: 'n', type: { name: 'integer' } },
      ...kinds.map(({ type }) => ({ name: type.name, type })),
    ],
  };
  /** One row for each value: `n` says whose turn it is, and all other key columns are the same in all rows of an `n`. */
  const image = (text: string): Row[] =>
    kinds.flatMap(({ values }, n) =>
      values.map((value) => [text, n, ...kinds.map((kind, at) => (at === n ? value : kind.values[0]))]),
    );
  /** The rows of each type's first value. */
  const firsts = (rows: readonly Row[]): Row[] =>
    rows.filter((row) => row.slice(2).every((value, at) => value === kinds[at]!.values[0]));

  it('of any type finds its own row and no other, and a uuid also one in capitals', async () => {
    const table = await tableOf(mapping);
    const sink = site.sink(table, mapping);
    await sink.claim([0], () => 0n);
    let at = 0;
    const merge = (...changes: Change[]): Promise<Merged> =>
      sink.merge([partOf(0, at, ++at, ...changes)], forever);
    const count = image('a').length;
    assert.equal((await merge(...image('a').map((row) => put(mapping, row)))).inserted, count);
    const again = await merge(...image('b').map((row) => put(mapping, row)));
    assert.deepEqual([again.inserted, again.updated], [0, count]);
    const away = firsts(image('b'));
    assert.equal(away.length, kinds.length);
    assert.equal((await merge(...away.map((row) => gone(mapping, row)))).deleted, away.length);
    const source = createDeltaSource({ client: site.warehouse.client, table, mapping });
    const version = await lastVersion(table);
    const left = await site.warehouse.sql(`SELECT count(*) AS n FROM ${table} WHERE v = 'b'`);
    assert.equal(left[0]?.['n'], BigInt(count - away.length));
    const byTurn = (one: Row, other: Row): number => Number(one[1]) - Number(other[1]);
    assert.deepEqual((await rows(source, version, version)).map(({ row }) => row).sort(byTurn), away);

    await site.warehouse.sql(`UPDATE ${table} SET uuid = upper(uuid)`);
    const others = image('c').filter((row) => firsts([row]).length === 0);
    const ours = await merge(...others.map((row) => put(mapping, row)));
    assert.deepEqual([ours.inserted, ours.updated], [0, others.length]);
  });
});

describe('the user’s table', () => {
  const mapping: TableMapping = {
    name: 'odd',
    key: ['Emp Id'],
    columns: [
      { name: 'Emp Id', type: { name: 'bigint' } },
      { name: 'ferry', type: { name: 'text' } },
      { name: 'we.ird [x]', type: { name: 'text' } },
      { name: 'gone', type: { name: 'boolean' } },
    ],
  };
  const COLUMNS =
    "`Emp Id` BIGINT, ferry STRING, own STRING DEFAULT 'theirs', `we.ird [x]` STRING, gone BOOLEAN, c0 STRING";
  const PROPERTIES = `, 'delta.columnMapping.mode' = 'name', 'delta.feature.allowColumnDefaults' = 'supported'`;

  it('keeps what is not mapped, whatever its columns are called, and may have a key twice', async () => {
    const table = await site.warehouse.table(COLUMNS, PROPERTIES);
    await site.warehouse.sql(
      `INSERT INTO ${table} VALUES (1, 'a', 'kept', 'x', true, 'kept'), (2, 'b', 'one', 'x', true, NULL), (2, 'b', 'two', 'x', true, NULL)`,
    );
    const sink = site.sink(table, mapping);
    await sink.claim([0], () => 0n);
    const images: readonly Row[] = [
      [1, 'A', 'y', false],
      [2, 'B', null, null],
      [3, 'C', 'z', true],
    ];
    const done = await sink.merge([partOf(0, 0, 1, ...images.map((row) => put(mapping, row)))], forever);
    assert.deepEqual([done.inserted, done.updated], [1, 3]);
    const found = await site.warehouse.sql(`SELECT * FROM ${table} ORDER BY \`Emp Id\`, own`);
    assert.deepEqual(
      found.map((row) => Object.values(row)),
      [
        [1n, 'A', 'kept', 'y', false, 'kept'],
        [2n, 'B', 'one', null, null, null],
        [2n, 'B', 'two', null, null, null],
        [3n, 'C', 'theirs', 'z', true, null],
      ],
    );
    const columns = await site.warehouse.sql(`DESCRIBE TABLE ${table}`);
    assert.equal(columns.filter(({ col_name }) => col_name !== '').length, 6);
  });

  it('that needs a value which no change brings stops the sink; one that refuses a change’s value does not', async () => {
    const people: TableMapping = {
      name: 'people',
      key: ['id'],
      columns: [
        { name: 'id', type: { name: 'bigint' } },
        { name: 'name', type: { name: 'text' } },
      ],
    };
    const strict = await site.warehouse.table('id BIGINT, name STRING NOT NULL');
    const sink = site.sink(strict, people);
    await sink.claim([0], () => 0n);
    await assert.rejects(sink.merge([partOf(0, 0, 1, put(people, [1, null]))], forever), {
      kind: 'poison',
      code: 'DELTA_VALUE_REFUSED',
    });
    const other = await site.warehouse.table('id BIGINT, name STRING, owner STRING NOT NULL');
    const stopped = site.sink(other, people);
    await stopped.claim([0], () => 0n);
    await assert.rejects(stopped.merge([partOf(0, 0, 1, put(people, [1, 'a']))], forever), {
      kind: 'operator',
      code: 'DELTA_VALUE_REFUSED',
      message: /owner/,
    });
  });

  it('narrower than the mapping refuses what does not fit, and rounds nothing', async () => {
    const numbers: TableMapping = {
      name: 'numbers',
      key: ['id'],
      columns: [
        { name: 'id', type: { name: 'bigint' } },
        { name: 'n', type: { name: 'bigint' } },
      ],
    };
    const table = await site.warehouse.table('id BIGINT, n INT');
    const sink = site.sink(table, numbers);
    await sink.claim([0], () => 0n);
    await assert.rejects(sink.merge([partOf(0, 0, 1, put(numbers, [1, 2 ** 40]))], forever), {
      kind: 'poison',
    });
    await sink.merge([partOf(0, 0, 1, put(numbers, [1, 7]))], forever);
  });
});

describe('what a person must mend', () => {
  const people: TableMapping = {
    name: 'people',
    key: ['id'],
    columns: [
      { name: 'id', type: { name: 'bigint' } },
      { name: 'name', type: { name: 'text' } },
    ],
  };

  it('a table that is gone, and then is there again', async () => {
    const table = await site.warehouse.table('id BIGINT, name STRING');
    const sink = site.sink(table, people);
    await sink.claim([0], () => 0n);
    await site.warehouse.sql(`DROP TABLE ${table}`);
    const merge = (): Promise<Merged> => sink.merge([partOf(0, 0, 1, put(people, [1, 'a']))], forever);
    await assert.rejects(merge(), { code: 'DELTA_TABLE_MISSING', kind: 'operator', remedy: /setup/ });
    await site.warehouse.sql(`CREATE TABLE ${table} (id BIGINT, name STRING) USING DELTA`);
    assert.equal((await merge()).inserted, 1);
  });

  it('a column that is gone is named', async () => {
    const table = await site.warehouse.table('id BIGINT');
    const sink = site.sink(table, people);
    await sink.claim([0], () => 0n);
    await assert.rejects(sink.merge([partOf(0, 0, 1, put(people, [1, 'a']))], forever), {
      code: 'DELTA_COLUMN_MISSING',
      kind: 'operator',
      message: /name/,
    });
  });

  it('a batch too large for a statement, where no volume is configured', async () => {
    const table = await site.warehouse.table('id BIGINT, name STRING');
    const sink = site.sink(table, people);
    await sink.claim([0], () => 0n);
    const wide = Array.from({ length: 15 }, (_, id) => put(people, [id, 'x'.repeat(1_000_000)]));
    await assert.rejects(sink.merge([partOf(0, 0, 1, ...wide)], forever), {
      code: 'MERGE_TOO_LARGE',
      kind: 'operator',
      remedy: /stagingVolume/,
    });
    assert.equal((await sink.merge([partOf(0, 0, 1, ...wide.slice(0, 5))], forever)).inserted, 5);
  });
});

describe('staged files', () => {
  const people: TableMapping = {
    name: 'people',
    key: ['id'],
    columns: [
      { name: 'id', type: { name: 'bigint' } },
      { name: 'name', type: { name: 'text' } },
    ],
  };

  it('are removed once merged; those of a crash are swept by the next process, others’ are left', async () => {
    const table = await site.warehouse.table('id BIGINT, name STRING');
    const folder = `${site.volume}/${table}`;
    const files = async (): Promise<string[]> =>
      (await site.warehouse.sql(`LIST '${folder}'`)).map(({ name }) =>
        String(name).split('-').slice(0, 2).join('-'),
      );
    const options = { inlineBytes: 0, stagingVolume: site.volume };
    const real = site.warehouse.client;
    let reachable = true;
    /** Dies before it can remove its files, and the second time before its MERGE is sent. */
    const crashing: typeof real = {
      ...real,
      async query(statement) {
        if (statement.sql.startsWith('REMOVE') || (!reachable && MERGE.test(statement.sql)))
          throw new Error('dead');
        return real.query(statement);
      },
    };
    const first = site.sink(table, people, { ...options, client: crashing });
    await first.claim([0], () => 0n);
    await first.merge([partOf(0, 0, 4, put(people, [1, 'a']))], forever);
    reachable = false;
    const second = partOf(0, 4, 9, put(people, [2, 'b']));
    await assert.rejects(first.merge([second], forever), { message: 'dead' });
    assert.deepEqual(await files(), ['0-4', '0-9']);

    const next = site.sink(table, people, options);
    await next.claim([0], () => 0n);
    // Not yet merged: it may as well be that of a replica which waits for its turn.
    assert.deepEqual(await files(), ['0-9']);
    await next.merge([second], forever);
    await next.close();
    assert.deepEqual(await files(), ['0-9']);
    await site.sink(table, people, options).claim([0], () => 0n);
    assert.deepEqual(await files(), []);
  });

  it('that are gone before they are merged are staged anew', async () => {
    const table = await site.warehouse.table('id BIGINT, name STRING');
    const options = { inlineBytes: 0, stagingVolume: site.volume };
    const swept = tapped(site.warehouse.client, MERGE, {
      async before() {
        for (const { path } of await site.warehouse.sql(`LIST '${site.volume}/${table}'`))
          await site.warehouse.client.query({
            sql: `REMOVE '${String(path)}'`,
            doing: 'removing it',
            localFolder: '/tmp',
          });
      },
    });
    const sink = site.sink(table, people, { ...options, client: swept });
    await sink.claim([0], () => 0n);
    const part = partOf(0, 0, 4, put(people, [1, 'a']));
    await assert.rejects(sink.merge([part], forever), { code: 'STAGED_FILE_GONE', kind: 'transient' });
    assert.equal((await site.sink(table, people, options).merge([part], forever)).inserted, 1);
    assert.equal((await site.commits(table)).filter(({ operation }) => operation !== 'MERGE').length, 1);
  });
});
