import { UsageError } from '../../src/errors.ts';
import { checkKeyColumns } from '../../src/change/key.ts';
import type { ColumnType } from '../../src/change/table.ts';
import { avroTypeOf, columnTypeText, deltaTypeOf, parseColumnType } from '../../src/change/types.ts';
import { TYPE_CASES, type TypeCases } from './type-cases.ts';

/** Spellings that `parseColumnType` takes besides the canonical one. */
const ALIASES = `
  bool, int2, int, int4, int8, decimal(12,2), dec(12,2), numeric(12), float4, double, float8, string, varchar,
  character varying(4), timestamp(6), timestamp without time zone, timestamp_ntz, timestamptz(6),
  timestamp with time zone`
  .trim()
  .split(/,\s+/);

const REFUSED_TYPES = `
  text[], array<int>, struct<…>, map<…>, numeric, numeric(39,2), numeric(2,3), float, char(3), json, timestamp(3),
  time, interval, money, serial, hstore`
  .trim()
  .split(/,\s+/);

/** docs/TYPES.md. `test/change/generated.ts` writes it, a test compares it. */
export function typesDocument(): string {
  return `# Types

What each column type is in Postgres, on the topic and in Delta, with its ends. A value that the type cannot
hold exactly is refused and dead-lettered, never rounded, cut or replaced. Every column may be null, key
columns excepted.

This file is made from the rules in \`src/change/types.ts\` and the cases in \`test/change/type-cases.ts\`; a test
compares it, and others send every end shown here through each form. After a change: \`node test/change/generated.ts\`.

| Postgres | also written | Avro | Delta | key | ends | refused |
| --- | --- | --- | --- | --- | --- | --- |
${Object.values(TYPE_CASES).map(typeLine).join('\n')}

- \`timestamp\` is the type without time zone, as in Postgres. Delta's \`TIMESTAMP\` is \`timestamptz\`.
- A timestamp is a whole number of microseconds on the way; \`timestamptz\` is written with \`+00\`, so no session's
  time zone matters.
- \`numeric\` always carries its scale: \`12.5\` in a \`numeric(12,2)\` is \`12.50\` everywhere. There is no negative zero.
- \`jsonb\` is checked, then handed on as the text it is; its numbers are never parsed. Postgres stores it in its own
  order and spacing.
- \`enum(name)\` names a type that exists in Postgres. On the topic and in Delta it is text, so that a new label is no
  change of schema.
- \`varchar(n)\` counts characters as Postgres does. Delta has no limit there: the limit is checked on the way.
- \`NaN\` equals \`NaN\`, and \`-0\` keeps its sign.
- Days are of the Gregorian calendar, backwards as well, on both engines. Open-source Delta alone reads its change
  data feed through the older calendar and shows 1582-10-05 to 1582-10-14 as 1582-10-15, unless its session has
  \`spark.sql.datetime.java8API.enabled = true\`.

## Refused column types

| written | why, and what to write instead |
| --- | --- |
${REFUSED_TYPES.map(refusedLine).join('\n')}

## Keys

Key columns must be of a type marked above, which has one canonical text on both engines. The record key is that
text in UTF-8 (a date as \`YYYY-MM-DD\`); of several columns, a JSON array of the texts in the order of the key:
\`["7","2022-01-08"]\`.

## Names

Avro takes letters, digits and \`_\`, not beginning with a digit. Every other character of a column's name becomes
\`_x\`, its code point in hex, \`_\`: \`unit price\` is the field \`unit_x20_price\`. Two columns that would share a
field are refused.

## Changing a mapping

Records already on the topic are read with the schema that they were written with: a column added since is null, a
removed one is passed over. \`integer\` may become \`bigint\` and \`real\` \`double precision\`; precision, scale and
length may change, and one kind of text may become another: a value that the new type cannot hold exactly is
refused by itself. Any other change of type needs a new topic.
`;
}

function typeLine({ type: text, extremes, refusals }: TypeCases): string {
  const type = parseColumnType(text);
  const others = ALIASES.filter((alias) => parseColumnType(alias).name === type.name).map(aliasText);
  const cells = [
    code(generalText(type)),
    others.map(code).join(', '),
    code(generalAvro(type)),
    code(deltaTypeOf(type).replace('12,2', 'p,s')),
    isKeyType(type) ? 'yes' : '',
    extremes.map((value) => (value === '' ? 'empty' : code(value))).join(', '),
    refusals,
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The type as it is written in general, where the case has a sample of it. */
function generalText(type: ColumnType): string {
  return aliasText(columnTypeText(type)).replace('mood', 'name');
}

function aliasText(text: string): string {
  return text.replace('(12,2)', '(p,s)').replace('(12)', '(p)').replace('(4)', '(n)');
}

function generalAvro(type: ColumnType): string {
  const avro = avroTypeOf(type);
  if (typeof avro === 'string') return avro;
  return 'scale' in avro ? 'bytes decimal(p,s)' : `${avro.type} ${avro.logicalType}`;
}

function isKeyType(type: ColumnType): boolean {
  try {
    checkKeyColumns({ name: 't', key: ['id'], columns: [{ name: 'id', type }] });
    return true;
  } catch {
    return false;
  }
}

function refusedLine(text: string): string {
  try {
    parseColumnType(text);
  } catch (error) {
    if (error instanceof UsageError) return `| ${code(text)} | ${error.message.replace(/^.*?": /, '')} |`;
  }
  throw new Error(`${text} is not refused`);
}

function code(text: string): string {
  return `\`${text}\``;
}
