import { createChangeDecoder, schemaIdOf, type ChangeDecoder } from '../change/avro.ts';
import { asBuffer } from '../change/bytes.ts';
import type { Change, Micros } from '../change/change.ts';
import type { TableMapping } from '../change/table.ts';
import { OperatorError, PoisonError } from '../errors.ts';
import type { StreamRecord } from '../ports/record-stream.ts';
import type { SchemaSource } from '../ports/schema-source.ts';

/** What a record is to a sink. */
export type Reading =
  | { readonly kind: 'change'; readonly change: Change }
  /** Made by the sink's own system: it has it already. */
  | { readonly kind: 'own' }
  | { readonly kind: 'poison'; readonly error: PoisonError };

export interface RecordReaderOptions {
  readonly topic: string;
  readonly table: TableMapping;
  readonly schemas: SchemaSource;
  /** Changes of this origin are the sink's own. */
  readonly origin: string;
  /** How far ahead of now an event time may be, milliseconds. */
  readonly skewMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Reads the records of one fetch; schemas that are unknown are looked up once per fetch. */
export interface RecordReader {
  /** Answers at once unless a schema has to be looked up. Throws what the registry's state calls for. */
  read(record: StreamRecord): Reading | Promise<Reading>;
}

// More records of one fetch than this with schemas that are not ours are no accident: a registry that
// was wiped and filled again gives other schemas to our ids.
const MOST_FOREIGN_SCHEMAS = 100;

/** A function that begins the reading of a fetch. Decoders are kept between fetches, failures are not. */
export function createRecordReaders(options: RecordReaderOptions): () => RecordReader {
  const { topic, table, schemas, origin, now } = options;
  const skewMicros = options.skewMs * 1000;
  const decoders = new Map<number, ChangeDecoder>();

  async function load(id: number): Promise<ChangeDecoder> {
    const decoder = createChangeDecoder(table, await schemas.schemaById(id));
    decoders.set(id, decoder);
    return decoder;
  }

  function decode(decoder: ChangeDecoder, key: Uint8Array, value: Uint8Array): Reading {
    let change: Change;
    try {
      change = decoder.decode(value, asBuffer(key).toString());
    } catch (error) {
      if (error instanceof PoisonError) return { kind: 'poison', error };
      throw error;
    }
    if (change.origin === origin) return { kind: 'own' };
    if (Number(change.ts) > now() * 1000 + skewMicros)
      return { kind: 'poison', error: fromTheFuture(change) };
    return { kind: 'change', change };
  }

  function fromTheFuture({ key, ts }: Change): PoisonError {
    return new PoisonError({
      code: 'EVENT_IN_FUTURE',
      message: `table ${table.name}, key ${key.slice(0, 80)}: its event time ${timeText(ts)} is more than ${options.skewMs / 1000} s ahead: every later change of the key would count as late.`,
      remedy: 'Set the clock of the source right, then change the row once more.',
    });
  }

  return () => {
    const foreign = new Map<number, PoisonError>();
    let foreignRecords = 0;

    async function readWithNewSchema(id: number, key: Uint8Array, value: Uint8Array): Promise<Reading> {
      try {
        return decode(await load(id), key, value);
      } catch (error) {
        if (!(error instanceof PoisonError)) throw error;
        foreign.set(id, error);
        return notOurs(error);
      }
    }

    function notOurs(error: PoisonError): Reading {
      foreignRecords += 1;
      if (foreignRecords > MOST_FOREIGN_SCHEMAS)
        throw new OperatorError({
          code: 'TOO_MANY_FOREIGN_SCHEMAS',
          message: `More than ${MOST_FOREIGN_SCHEMAS} records of one fetch from topic ${topic} have schemas that are not ours: ${error.message}`,
          remedy:
            'Check whether the registry was wiped and filled again, or what else writes to the topic; restore the registry with its old schema ids.',
          cause: error,
        });
      return { kind: 'poison', error };
    }

    return {
      read({ key, value }) {
        if (key === null) return poison('KEY_MISSING', `a record without a key on topic ${topic}`);
        if (value === null) return poison('VALUE_MISSING', `a record without a value on topic ${topic}`);
        let id: number;
        try {
          id = schemaIdOf(value);
        } catch (error) {
          if (error instanceof PoisonError) return { kind: 'poison', error };
          throw error;
        }
        const known = foreign.get(id);
        if (known !== undefined) return notOurs(known);
        const decoder = decoders.get(id);
        if (decoder === undefined) return readWithNewSchema(id, key, value);
        return decode(decoder, key, value);
      },
    };
  };
}

function poison(code: string, message: string): Reading {
  return {
    kind: 'poison',
    error: new PoisonError({
      code,
      message,
      remedy: 'Find what else writes to this topic: only Deltaferry should.',
    }),
  };
}

/** There is no Date of every number that a record can hold. */
function timeText(ts: Micros): string {
  const date = new Date(Number(ts) / 1000);
  return Number.isNaN(date.getTime()) ? `${ts} µs` : date.toISOString();
}
