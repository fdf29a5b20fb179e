import { createChangeDecoder, schemaIdOf } from '../change/avro.ts';
import { asBuffer } from '../change/bytes.ts';
import { timestampText } from '../change/calendar.ts';
import type { Change, Micros, Row } from '../change/change.ts';
import type { TableMapping } from '../change/table.ts';
import { formatPostgres } from '../change/types.ts';
import { createDeadLetterReader, type StoredLetter } from '../connections/kafka/dead-letter-reader.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { describeError } from '../errors.ts';
import { deadLetterTopic, subjectOf } from '../setup/request.ts';
import type { Config } from './config/schema.ts';
import { mappingOf, type TableConfig } from './config/table-schema.ts';
import { kafkaOptions, registryOptions } from './connect.ts';

/** Where a record lies on a topic. */
export interface Place {
  readonly partition: number;
  readonly offset: string;
}

/** What a list of dead letters says of each. */
export interface LetterSummary {
  /** When it was first seen, ISO. */
  readonly time: string;
  readonly code: string;
  readonly message: string;
  /** Its place on the dead-letter topic. */
  readonly letter: Place;
  /** Where a sink read the record; null for what a producer rejected. */
  readonly record: (Place & { readonly topic: string }) | null;
  /** Where a producer read the row (Delta commit version); null for what a sink set aside. */
  readonly source: { readonly producer: string; readonly position: string } | null;
  /** Text, or hex where it is none; null where the record had none. */
  readonly key: string | null;
}

export interface LettersOfTable {
  readonly table: string;
  readonly topic: string;
  /** Newest first. */
  readonly letters: readonly LetterSummary[];
  /** Whether these are all that the topic holds. */
  readonly complete: boolean;
}

/** Bytes made readable. */
export type Decoded =
  | { readonly form: 'none' }
  | { readonly form: 'text'; readonly text: string }
  /** JSON text as it was stored: its numbers may be larger than JavaScript's. */
  | { readonly form: 'json'; readonly text: string }
  | { readonly form: 'change'; readonly schemaId: number; readonly change: object }
  | { readonly form: 'hex'; readonly hex: string; readonly why: string };

export interface Letter extends LetterSummary {
  readonly table: string;
  readonly topic: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly decodedKey: Decoded;
  readonly decodedValue: Decoded;
}

/** The newest dead letters of a table, at most `limit`. */
export async function listDeadLetters(
  config: Config,
  table: TableConfig,
  limit: number,
): Promise<LettersOfTable> {
  const { reader, topic } = readerOf(config, table);
  const { found, complete } = await reader.newest(limit, summaryOf);
  return { table: table.name, topic, letters: found, complete };
}

/**
 * One dead letter whole, by its place on the dead-letter topic or, where `original`, by that of the
 * record on the changes topic. Null where there is none.
 */
export async function readDeadLetter(
  config: Config,
  table: TableConfig,
  { partition, offset, original }: { partition: number; offset: bigint; original: boolean },
): Promise<Letter | null> {
  const { reader, topic } = readerOf(config, table);
  const isIt = ({ headers }: StoredLetter): boolean =>
    headers.get('partition') === String(partition) && headers.get('offset') === String(offset);
  const letter = original
    ? (await reader.newest(1, (one) => (isIt(one) ? one : null))).found[0]
    : await reader.at(partition, offset);
  if (letter === undefined || letter === null) return null;
  return {
    table: table.name,
    topic,
    ...summaryOf(letter),
    headers: Object.fromEntries(letter.headers),
    decodedKey: decodedText(letter.key),
    decodedValue: await decodedValue(letter, config, table),
  };
}

function readerOf(config: Config, { topic }: TableConfig) {
  const letters = deadLetterTopic(topic);
  return {
    topic: letters,
    reader: createDeadLetterReader({ kafka: openKafka(kafkaOptions(config)), topic: letters }),
  };
}

function summaryOf({ headers, key, partition, offset, writtenAt }: StoredLetter): LetterSummary {
  const header = (name: string): string => headers.get(name) ?? '';
  const firstSeen = header('first.seen');
  const time = /^\d{1,16}$/.test(firstSeen) ? Number(firstSeen) / 1000 : writtenAt;
  return {
    time: new Date(time).toISOString(),
    code: header('error.code'),
    message: header('error.message'),
    letter: { partition, offset: String(offset) },
    record: headers.has('offset')
      ? { topic: header('topic'), partition: Number(header('partition')), offset: header('offset') }
      : null,
    source: headers.has('producer') ? { producer: header('producer'), position: header('position') } : null,
    key: key === null ? null : (utf8(key) ?? asBuffer(key).toString('hex')),
  };
}

function decodedText(bytes: Uint8Array | null): Decoded {
  if (bytes === null) return { form: 'none' };
  const text = utf8(bytes);
  return text === null
    ? { form: 'hex', hex: asBuffer(bytes).toString('hex'), why: 'it is not UTF-8 text' }
    : { form: 'text', text };
}

/** A change where it decodes as one, else JSON or text where it is, else hex and why. */
export async function decodedValue(
  { key, value }: Pick<StoredLetter, 'key' | 'value'>,
  config: Config,
  table: TableConfig,
): Promise<Decoded> {
  if (value === null) return { form: 'none' };
  let why: string;
  try {
    const mapping = mappingOf(table);
    const schemaId = schemaIdOf(value);
    const schema = await schemaOf(schemaId, config, table);
    const decoder = createChangeDecoder(mapping, schema, { anyKey: true });
    return {
      form: 'change',
      schemaId,
      change: readable(decoder.decode(value, utf8(key ?? new Uint8Array()) ?? ''), mapping),
    };
  } catch (error) {
    why = describeError(error);
  }
  const text = utf8(value);
  if (text !== null && isJson(text)) return { form: 'json', text };
  return { form: 'hex', hex: asBuffer(value).toString('hex'), why };
}

async function schemaOf(id: number, config: Config, { topic }: TableConfig): Promise<object> {
  const registry = createSchemaRegistry(registryOptions(config));
  try {
    return await registry.schemaById(id, subjectOf(topic));
  } finally {
    registry.close();
  }
}

/** A change for people: rows by column, values exact, as Postgres writes them. */
function readable(change: Change, mapping: TableMapping): object {
  const row = (values: Row | null) =>
    values === null
      ? null
      : Object.fromEntries(
          mapping.columns.map(({ name, type }, index) => {
            const value = values[index] ?? null;
            return [name, typeof value === 'boolean' || value === null ? value : formatPostgres(type, value)];
          }),
        );
  const { op, key, before, after, origin, table, position, ts, tx, load } = change;
  return {
    op,
    key,
    before: row(before),
    after: row(after),
    origin,
    table,
    position: String(position),
    ts: instant(ts),
    tx: tx === null ? null : String(tx),
    load,
  };
}

function instant(ts: Micros): string {
  return `${timestampText(ts)}Z`;
}

function utf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
