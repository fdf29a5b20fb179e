import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { changeSchema, createChangeDecoder, createChangeEncoder } from '../../src/change/avro.ts';
import type { Value } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { PoisonError } from '../../src/errors.ts';
import { avscCodec } from './avsc-codec.ts';
import { changeOf, EMPLOYEES, table } from './fixtures.ts';

const EMITTED = 1_735_689_600_999_999;

const WIDER = table('employees', ['emp_id'], {
  emp_id: 'bigint',
  hired: 'date',
  name: 'text',
  salary: 'numeric(12,2)',
  seen: 'timestamptz',
});

interface Evolution {
  readonly what: string;
  readonly writer: TableMapping;
  readonly reader: TableMapping;
  readonly written: readonly Value[];
  /** The row as the reader's mapping has it, or the code of the refusal. */
  readonly read: readonly Value[] | string;
  /** avsc has no opinion: types that only our own rules bring together. */
  readonly ours?: true;
}

const EVOLUTIONS: readonly Evolution[] = [
  {
    what: 'columns were added since: null',
    writer: EMPLOYEES,
    reader: WIDER,
    written: [1, 'Ada', '10.00'],
    read: [1, null, 'Ada', '10.00', null],
  },
  {
    what: 'columns were removed since: passed over',
    writer: WIDER,
    reader: EMPLOYEES,
    written: [1, 19_000, 'Ada', '10.00', 5],
    read: [1, 'Ada', '10.00'],
  },
  {
    what: 'columns in another order',
    writer: EMPLOYEES,
    reader: table('employees', ['emp_id'], { salary: 'numeric(12,2)', name: 'text', emp_id: 'bigint' }),
    written: [1, 'Ada', '10.00'],
    read: ['10.00', 'Ada', 1],
  },
  {
    what: 'no column in common but the key',
    writer: table('employees', ['emp_id'], {
      emp_id: 'bigint',
      old: 'bytea',
      older: 'boolean',
      oldest: 'uuid',
    }),
    reader: table('employees', ['emp_id'], { emp_id: 'bigint', fresh: 'double precision' }),
    written: [9_007_199_254_740_993n, Buffer.from([1, 2]), true, '00000000-0000-0000-0000-000000000000'],
    read: [9_007_199_254_740_993n, null],
  },
  {
    what: 'integer became bigint',
    writer: table('t', ['id'], { id: 'integer' }),
    reader: table('t', ['id'], { id: 'bigint' }),
    written: [7],
    read: [7],
    ours: true, // avsc resolves it, but only for its own long.
  },
  {
    what: 'real became double precision',
    writer: table('t', ['id'], { id: 'integer', v: 'real' }),
    reader: table('t', ['id'], { id: 'integer', v: 'double precision' }),
    written: [7, Math.fround(0.1)],
    read: [7, Math.fround(0.1)],
  },
  {
    what: 'numeric grew',
    writer: table('t', ['id'], { id: 'integer', v: 'numeric(5,2)' }),
    reader: table('t', ['id'], { id: 'integer', v: 'numeric(9,4)' }),
    written: [7, '-123.45'],
    read: [7, '-123.4500'],
    ours: true,
  },
  {
    what: 'numeric shrank, the value still fits',
    writer: table('t', ['id'], { id: 'integer', v: 'numeric(9,4)' }),
    reader: table('t', ['id'], { id: 'integer', v: 'numeric(5,2)' }),
    written: [7, '123.4500'],
    read: [7, '123.45'],
    ours: true,
  },
  {
    what: 'numeric shrank, a decimal would be lost',
    writer: table('t', ['id'], { id: 'integer', v: 'numeric(9,4)' }),
    reader: table('t', ['id'], { id: 'integer', v: 'numeric(5,2)' }),
    written: [7, '123.4501'],
    read: 'VALUE_OUT_OF_RANGE',
    ours: true,
  },
  {
    what: 'numeric shrank, a digit would be lost',
    writer: table('t', ['id'], { id: 'integer', v: 'numeric(9,4)' }),
    reader: table('t', ['id'], { id: 'integer', v: 'numeric(5,2)' }),
    written: [7, '1234.0000'],
    read: 'VALUE_OUT_OF_RANGE',
    ours: true,
  },
  {
    what: 'varchar shrank, the text is too long',
    writer: table('t', ['id'], { id: 'integer', v: 'text' }),
    reader: table('t', ['id'], { id: 'integer', v: 'varchar(3)' }),
    written: [7, 'four'],
    read: 'VALUE_OUT_OF_RANGE',
    ours: true,
  },
  {
    what: 'integer became smallint, the value is too large',
    writer: table('t', ['id'], { id: 'integer', v: 'integer' }),
    reader: table('t', ['id'], { id: 'integer', v: 'smallint' }),
    written: [7, 40_000],
    read: 'VALUE_OUT_OF_RANGE',
    ours: true,
  },
  {
    what: 'text became uuid, the text is none',
    writer: table('t', ['id'], { id: 'integer', v: 'text' }),
    reader: table('t', ['id'], { id: 'integer', v: 'uuid' }),
    written: [7, 'four'],
    read: 'VALUE_INVALID',
    ours: true,
  },
  ...(
    [
      ['text', 'bytea', 'x'],
      ['bigint', 'integer', 1],
      ['bigint', 'timestamptz', 1],
      ['timestamp', 'timestamptz', 1],
      ['integer', 'date', 1],
      ['bytea', 'numeric(9,0)', Buffer.from([1])],
      ['double precision', 'real', 0.5],
      ['boolean', 'text', true],
    ] as const
  ).map(([from, to, value]): Evolution => ({
    what: `${from} became ${to}: the schema does not resolve`,
    writer: table('t', ['id'], { id: 'integer', v: from }),
    reader: table('t', ['id'], { id: 'integer', v: to }),
    written: [7, value],
    read: 'UNDECODABLE',
    ours: true,
  })),
];

// Were one of these to fail, an upgrade would lose or change what lies on the topic already.
for (const { what, writer, reader, written, read, ours } of EVOLUTIONS) {
  test(`written by another version of the mapping: ${what}`, () => {
    const change = changeOf(writer, { op: 'update', before: written, after: written, tx: 5, load: 'l' });
    const bytes = createChangeEncoder(writer, 1).encode(change, EMITTED);
    const decode = (): unknown => createChangeDecoder(reader, changeSchema(writer)).decode(bytes, change.key);
    if (typeof read === 'string') {
      assert.throws(decode, (error) => error instanceof PoisonError && error.code === read);
      return;
    }
    const expected = { ...change, before: read, after: read };
    assert.deepEqual(decode(), expected);
    if (ours !== true) {
      const twin = avscCodec(reader, changeSchema(reader), changeSchema(writer));
      assert.deepEqual(twin.decode(bytes, change.key), expected);
    }
  });
}

interface Schema {
  readonly fields: readonly Readonly<Record<string, unknown>>[];
}

test('a later envelope with more fields, in another order, without the optional ones, is read', () => {
  const schema = changeSchema(EMPLOYEES) as Schema;
  const extra = [
    { name: 'note', type: ['string', 'null'] },
    { name: 'sum', type: { type: 'fixed', name: 'Sum', size: 4 } },
    {
      name: 'parts',
      type: {
        type: 'record',
        name: 'Parts',
        fields: [
          { name: 'f', type: 'float' },
          { name: 'd', type: 'double' },
        ],
      },
    },
  ];
  const kept = schema.fields.filter(({ name }) => !['before', 'tx', 'load'].includes(String(name)));
  const fields = [...extra, ...kept].map((field) =>
    // Row was declared in `before`, which is gone.
    field.name === 'after'
      ? { ...field, type: schema.fields.find(({ name }) => name === 'before')?.['type'] }
      : field,
  );
  const written = { ...schema, fields };
  const change = changeOf(EMPLOYEES, { after: [1, 'Ada', '10.00'] });
  const full = createChangeEncoder(EMPLOYEES, 1).encode(change, EMITTED);
  const body = full.subarray(5);
  // By hand: header, note "hi", sum, parts, op; `before` (one byte) and tx, load (two before emitted_at) cut out.
  const emitted = body.subarray(-8);
  const bytes = Buffer.concat([
    full.subarray(0, 5),
    Buffer.from([0, 4, 0x68, 0x69, 9, 9, 9, 9]),
    Buffer.alloc(12),
    body.subarray(0, 1),
    body.subarray(2, -10),
    emitted,
  ]);
  assert.deepEqual(createChangeDecoder(EMPLOYEES, written).decode(bytes, '1'), change);
});

test('schemas that are not one of a change are poison, not a crash or a hang', () => {
  const schema = changeSchema(EMPLOYEES) as Schema;
  const without = (name: string): object => ({
    ...schema,
    fields: schema.fields.filter((field) => field['name'] !== name),
  });
  const added = (type: unknown): object => ({ ...schema, fields: [...schema.fields, { name: 'x', type }] });
  const schemas: readonly (readonly [string, object])[] = [
    ['a string', { type: 'string' }],
    ['nothing', {}],
    ['an array', { type: 'array', items: 'null' }],
    ['no op', without('op')],
    ['no ts', without('ts')],
    ['no origin', without('origin')],
    ['an array inside', added({ type: 'array', items: 'null' })],
    ['a map inside', added({ type: 'map', values: 'null' })],
    ['an unknown name', added('Nobody')],
    [
      'a record in itself',
      added({ type: 'record', name: 'Self', fields: [{ name: 's', type: ['null', 'Self'] }] }),
    ],
    ['a field without a name', { ...schema, fields: [...schema.fields, { type: 'int' }] }],
    [
      'ts in milliseconds',
      {
        ...schema,
        fields: schema.fields.map((field) =>
          field['name'] === 'ts'
            ? { name: 'ts', type: { type: 'long', logicalType: 'timestamp-millis' } }
            : field,
        ),
      },
    ],
  ];
  for (const [what, writer] of schemas) {
    assert.throws(
      () => createChangeDecoder(EMPLOYEES, writer),
      (error) => error instanceof PoisonError && error.code === 'UNDECODABLE',
      what,
    );
  }
});

const EVERYTHING = table('everything', ['id'], {
  id: 'bigint',
  a: 'text',
  b: 'numeric(38,2)',
  c: 'bytea',
  d: 'jsonb',
  e: 'double precision',
  f: 'timestamptz',
  g: 'uuid',
  h: 'boolean',
});

test('property: corrupted bytes are poison or another change, never a crash, a hang or a huge allocation', () => {
  const encoder = createChangeEncoder(EVERYTHING, 1);
  const schema = changeSchema(EVERYTHING);
  const decoder = createChangeDecoder(EVERYTHING, schema);
  const after: readonly Value[] = [
    9_007_199_254_740_993n,
    'näme',
    '-123456789012345678901234567890.12',
    Buffer.from([0, 255]),
    '{"a":1}',
    -0.5,
    1_735_689_600_000_000,
    '01234567-89ab-cdef-0123-456789abcdef',
    true,
  ];
  const change = changeOf(EVERYTHING, { op: 'update', before: after, after, tx: 5, load: 'load-1' });
  const good = encoder.encode(change, EMITTED);
  const codes = new Set<string>();
  const decodeAny = (bytes: Uint8Array): void => {
    try {
      decoder.decode(bytes, change.key);
    } catch (error) {
      assert.ok(error instanceof PoisonError, String(error));
      codes.add(error.code);
    }
    // The decoder is none the worse for it.
    assert.deepEqual(decoder.decode(good, change.key), change);
  };

  for (let size = 0; size < good.length; size++) {
    const cut = good.subarray(0, size);
    assert.throws(() => decoder.decode(cut, change.key), {
      code: size < 5 ? 'NOT_CONFLUENT' : 'UNDECODABLE',
    });
  }
  for (const extra of [Buffer.alloc(1), Buffer.from('trailing'), good]) {
    assert.throws(() => decoder.decode(Buffer.concat([good, extra]), change.key), { code: 'UNDECODABLE' });
  }
  const edits = fc.array(fc.tuple(fc.nat(good.length - 6), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(edits, (changed) => {
      const bytes = Buffer.from(good);
      for (const [at, byte] of changed) bytes[at + 5] = byte;
      decodeAny(bytes);
    }),
    { numRuns: 12_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) =>
      decodeAny(Buffer.concat([good.subarray(0, 5), noise])),
    ),
    { numRuns: 3000 },
  );
  for (const code of ['UNDECODABLE', 'KEY_MISMATCH', 'VALUE_INVALID', 'VALUE_OUT_OF_RANGE']) {
    assert.ok(codes.has(code), `the corruption never came to ${code}`);
  }
});

test('lengths, integers and texts that lie are refused where they stand', () => {
  const mapping = table('t', ['id'], { id: 'bigint', v: 'text', n: 'numeric(9,2)', b: 'boolean' });
  const decoder = createChangeDecoder(mapping, changeSchema(mapping));
  const start = [0, 0, 0, 0, 1, 0, 0, 2];
  const id = [2, 2];
  const huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
  const cases: readonly (readonly [string, readonly number[], RegExp])[] = [
    ['an op that is not in the enum', [0, 0, 0, 0, 1, 8], /one of 4 branches/],
    ['a branch that is not in the union', [0, 0, 0, 0, 1, 0, 4], /one of 2 branches/],
    ['a negative branch', [0, 0, 0, 0, 1, 0, 1], /one of 2 branches/],
    ['a text of 2^63 bytes', [...start, ...id, 2, ...huge], /length of 9223372036854775807/],
    ['a text of negative length', [...start, ...id, 2, 1], /length of -1/],
    ['a text of two gigabytes', [...start, ...id, 2, 0xfe, 0xff, 0xff, 0xff, 0x0f], /length of 2147483647/],
    ['an integer of 65 bits', [...start, 2, ...huge.slice(0, 9), 0x02], /more than 64 bits/],
    ['an integer without end', [...start, 2, ...Array.from({ length: 40 }, () => 0xff)], /more than 64 bits/],
    ['a text that is not UTF-8', [...start, ...id, 2, 2, 0xff], /not UTF-8/],
    ['half a surrogate pair as UTF-8', [...start, ...id, 2, 6, 0xed, 0xa0, 0x80], /not UTF-8/],
    ['a decimal of no bytes', [...start, ...id, 0, 2, 0], /decimal of 0 bytes/],
    ['a decimal beyond its precision', [...start, ...id, 0, 2, 10, 0x7f, 0, 0, 0, 0], /more than 7 digits/],
    ['a boolean of 2', [...start, ...id, 0, 0, 2, 2], /not a boolean/],
  ];
  for (const [what, bytes, message] of cases) {
    assert.throws(
      () => decoder.decode(Uint8Array.from(bytes), '1'),
      (error) => error instanceof PoisonError && message.test(error.message),
      what,
    );
  }
});
