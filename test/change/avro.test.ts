import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { changeSchema, createChangeDecoder, createChangeEncoder, schemaIdOf } from '../../src/change/avro.ts';
import type { Change, Value } from '../../src/change/change.ts';
import type { ColumnType } from '../../src/change/table.ts';
import { columnTypeText, formatPostgres, parseColumnType, parseExchange } from '../../src/change/types.ts';
import { BugError, PoisonError, UsageError } from '../../src/errors.ts';
import { avscCodec } from './avsc-codec.ts';
import { exchangeTexts } from './exchange-texts.ts';
import { changeOf, EMPLOYEES, table } from './fixtures.ts';
import { TYPE_CASES } from './type-cases.ts';

const EMITTED = 1_735_689_600_999_999;

test('schemas/employees_changes-value.avsc is the schema of the default table', () => {
  const file = new URL('../../schemas/employees_changes-value.avsc', import.meta.url);
  const written = JSON.stringify(JSON.parse(readFileSync(file, 'utf8')));
  assert.equal(written, JSON.stringify(changeSchema(EMPLOYEES)), 'run: node test/change/generated.ts');
});

const TYPES: readonly ColumnType[] = [
  ...Object.values(TYPE_CASES).map(({ type }) => parseColumnType(type)),
  ...['numeric(38,0)', 'numeric(38,38)', 'numeric(15,2)', 'numeric(16,2)', 'numeric(1,1)'].map(
    parseColumnType,
  ),
];

for (const type of TYPES) {
  const mapping = table('t', ['id'], { id: 'integer', v: columnTypeText(type) });
  const encoder = createChangeEncoder(mapping, 3);
  const schema = changeSchema(mapping);
  const decoder = createChangeDecoder(mapping, schema);
  const twin = avscCodec(mapping, schema);

  const survives = (text: string): void => {
    const value = parseExchange(type, text);
    const change = changeOf(mapping, { after: [1, value] });
    const bytes = encoder.encode(change, EMITTED);
    const decoded = decoder.decode(bytes, change.key);
    assert.deepEqual(decoded, change, text);
    const arrived = decoded.after?.[1] as Exclude<Value, null>;
    assert.equal(formatPostgres(type, arrived), formatPostgres(type, value));
    assert.equal(
      bytes.toString('hex'),
      twin.encode(change, 3, EMITTED).toString('hex'),
      `encoded as avsc does: ${text}`,
    );
    assert.deepEqual(twin.decode(bytes, change.key), change, `read by avsc: ${text}`);
  };

  test(`${columnTypeText(type)}: the extremes cross the topic unchanged, as avsc reads and writes them`, () => {
    const cases = Object.values(TYPE_CASES).find((known) => known.type === columnTypeText(type));
    for (const { exchange } of cases?.accepted ?? []) survives(exchange);
  });

  test(`property: ${columnTypeText(type)}: every value crosses the topic unchanged, as avsc reads and writes it`, () => {
    fc.assert(fc.property(exchangeTexts(type), survives), { numRuns: 200 });
  });
}

const WIDE = table('wide', ['a', 'b'], {
  a: 'bigint',
  b: 'text',
  c: 'numeric(38,18)',
  d: 'timestamptz',
  e: 'boolean',
  f: 'bytea',
  g: 'double precision',
});

const wideRows = fc.tuple(
  fc.tuple(...WIDE.columns.slice(0, 2).map(({ type }) => exchangeTexts(type))),
  fc.tuple(...WIDE.columns.slice(2).map(({ type }) => fc.option(exchangeTexts(type)))),
);

const wideChanges: fc.Arbitrary<Change> = fc
  .record({
    key: wideRows,
    other: fc.option(wideRows),
    op: fc.constantFrom('insert', 'update', 'delete', 'snapshot'),
    origin: fc.constantFrom('delta', 'postgres', 'überall'),
    position: long(),
    ts: long(),
    tx: fc.option(long()),
    load: fc.option(fc.string()),
  })
  .map(({ key: [ids, rest], other, op, ...given }) => {
    const row = (values: readonly (string | null)[]): readonly Value[] =>
      [...ids, ...values].map((text, index) =>
        text === null ? null : parseExchange((WIDE.columns[index] as { type: ColumnType }).type, text),
      );
    const beside = other === null ? null : row(other[1]);
    return op === 'delete'
      ? changeOf(WIDE, { ...given, op, before: row(rest) })
      : changeOf(WIDE, { ...given, op, before: beside, after: row(rest) });
  });

function long(): fc.Arbitrary<number | bigint> {
  return exchangeTexts({ name: 'bigint' }).map(
    (text) => parseExchange({ name: 'bigint' }, text) as number | bigint,
  );
}

test('property: whole changes cross the topic unchanged, as avsc reads and writes them', () => {
  const encoder = createChangeEncoder(WIDE, 0xffff_ffff);
  const decoder = createChangeDecoder(WIDE, changeSchema(WIDE));
  const twin = avscCodec(WIDE, changeSchema(WIDE));
  fc.assert(
    fc.property(fc.array(wideChanges, { maxLength: 4 }), (changes) => {
      const encoded = changes.map((change) => encoder.encode(change, EMITTED));
      // Decoded only now: an encoded record must stay valid while others are written.
      for (const [index, change] of changes.entries()) {
        const bytes = encoded[index] as Buffer;
        assert.equal(schemaIdOf(bytes), 0xffff_ffff);
        assert.deepEqual(decoder.decode(bytes, change.key), change);
        assert.deepEqual(decoder.decode(new Uint8Array(bytes), change.key), change);
        assert.deepEqual(bytes, twin.encode(change, 0xffff_ffff, EMITTED));
      }
    }),
    { numRuns: 300 },
  );
});

test('records larger than a slab, and many small ones, all stay readable', () => {
  const encoder = createChangeEncoder(EMPLOYEES, 1);
  const decoder = createChangeDecoder(EMPLOYEES, changeSchema(EMPLOYEES));
  const names = [
    'é'.repeat(300_000),
    'x'.repeat(1_000_000),
    ...Array.from({ length: 5000 }, (_, n) => `name ${n}`),
  ];
  const changes = names.map((name, id) => changeOf(EMPLOYEES, { after: [id, name, '1.00'] }));
  const encoded = changes.map((change) => encoder.encode(change, EMITTED));
  for (const [index, change] of changes.entries()) {
    assert.deepEqual(decoder.decode(encoded[index] as Buffer, change.key), change);
  }
});

test('a value of the wrong form is our bug, and the next record is whole again', () => {
  const encoder = createChangeEncoder(EMPLOYEES, 1);
  const decoder = createChangeDecoder(EMPLOYEES, changeSchema(EMPLOYEES));
  const good = changeOf(EMPLOYEES, { after: [1, 'Ada', '10.00'] });
  const wrong: readonly (readonly Value[])[] = [
    [1, 'Ada', '10.0'],
    [1, 'Ada', '10'],
    [1, 'Ada', 10],
    [1, 'Ada', '-.00'],
    [1, 7, '10.00'],
    [1, 'half \ud800', '10.00'],
    [1.5, 'Ada', '10.00'],
    [2 ** 53, 'Ada', '10.00'],
    [2n ** 63n, 'Ada', '10.00'],
    ['1', 'Ada', '10.00'],
    [1, 'Ada'],
  ];
  for (const after of wrong) {
    assert.throws(() => encoder.encode({ ...good, after }, EMITTED), BugError, String(after));
    assert.deepEqual(decoder.decode(encoder.encode(good, EMITTED), '1'), good);
  }
});

test('a column name that Avro does not take is escaped, the same way on both ends', () => {
  const mapping = table('hr.people', ['2nd id'], { '2nd id': 'bigint', naïve: 'text', 'unit price': 'real' });
  const text = JSON.stringify(changeSchema(mapping));
  for (const name of ['deltaferry.hr_x2e_people', '_x32_nd_x20_id', 'na_xef_ve', 'unit_x20_price']) {
    assert.ok(text.includes(`"${name}"`), name);
  }
  const change = changeOf(mapping, { after: [1, 'ok', 0.5] });
  const bytes = createChangeEncoder(mapping, 1).encode(change, EMITTED);
  assert.deepEqual(createChangeDecoder(mapping, changeSchema(mapping)).decode(bytes, '1'), change);

  const clash = table('t', ['id'], { id: 'bigint', 'a b': 'text', a_x20_b: 'text' });
  assert.throws(
    () => changeSchema(clash),
    (error) => error instanceof UsageError && error.message.includes('"a b" and "a_x20_b"'),
  );
});

test('a record that contradicts itself is poison, whatever wrote it', () => {
  const encoder = createChangeEncoder(EMPLOYEES, 1);
  const decoder = createChangeDecoder(EMPLOYEES, changeSchema(EMPLOYEES));
  const row: readonly Value[] = [1, 'Ada', '10.00'];
  const cases: readonly (readonly [string, Partial<Change>, string, string])[] = [
    ['insert without a row', { op: 'insert' }, '1', 'UNDECODABLE'],
    ['update without a row after', { op: 'update', before: row }, '1', 'UNDECODABLE'],
    ['delete with a row after', { op: 'delete', after: row }, '1', 'UNDECODABLE'],
    ['another key', { after: row }, '2', 'KEY_MISMATCH'],
    ['no key in the row', { after: [null, 'Ada', null] }, '1', 'KEY_MISSING'],
  ];
  for (const [what, given, key, code] of cases) {
    const bytes = encoder.encode({ ...changeOf(EMPLOYEES, { after: row }), after: null, ...given }, EMITTED);
    assert.throws(
      () => decoder.decode(bytes, key),
      (error) =>
        error instanceof PoisonError && error.code === code && error.message.includes('table employees, key'),
      what,
    );
  }
});

test('values without the registry header are told apart', () => {
  for (const value of [Buffer.alloc(0), Buffer.from([0, 0, 0, 1]), Buffer.from('{"op":1}')]) {
    assert.throws(() => schemaIdOf(value), { code: 'NOT_CONFLUENT' });
    const decoder = createChangeDecoder(EMPLOYEES, changeSchema(EMPLOYEES));
    assert.throws(() => decoder.decode(value, '1'), { code: 'NOT_CONFLUENT' });
  }
});
