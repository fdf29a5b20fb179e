import { changeSchema, createChangeEncoder } from '../../src/change/avro.ts';
import type { Change } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { FencedError, OperatorError, PoisonError, TransientError } from '../../src/errors.ts';
import type { DeadLetter, DeadLetters } from '../../src/ports/dead-letters.ts';
import type { HistoryBatch, HistorySink } from '../../src/ports/history-sink.ts';
import type { StreamBatch, StreamRecord } from '../../src/ports/record-stream.ts';
import type { SchemaSource } from '../../src/ports/schema-source.ts';

export const EMPLOYEES: TableMapping = {
  name: 'employees',
  key: ['emp_id'],
  columns: [
    { name: 'emp_id', type: { name: 'bigint' } },
    { name: 'name', type: { name: 'text' } },
  ],
};

export const NOW = Date.UTC(2026, 0, 1);
export const OWN_SCHEMA = 7;
export const UNKNOWN_SCHEMA = 99;
/** A name that the fake database can never store. */
export const UNSTORABLE = 'unstorable';

const encoder = createChangeEncoder(EMPLOYEES, OWN_SCHEMA);
const foreignEncoder = createChangeEncoder(EMPLOYEES, UNKNOWN_SCHEMA);

export function change(
  key: number,
  position: number,
  name = `v${position}`,
  more: Partial<Change> = {},
): Change {
  return {
    op: 'update',
    key: String(key),
    before: null,
    after: [key, name],
    origin: 'delta',
    table: 'employees',
    position,
    ts: (NOW - 1_000_000 + position) * 1000,
    tx: null,
    load: null,
    ...more,
  };
}

export type RecordKind =
  | 'good'
  | 'delete'
  | 'own'
  | 'garbage'
  | 'unknown schema'
  | 'no key'
  | 'wrong key'
  | 'future'
  | 'beyond every date'
  | 'unstorable';

/** A record of that kind; `good`, `delete` and `own` are the only ones that are not dead letters in the end. */
export function record(kind: RecordKind, key: number, offset: number): StreamRecord {
  const at = { offset: BigInt(offset), timestamp: NOW };
  const good = change(key, offset);
  const bytes = (of: Change): Buffer => encoder.encode(of, NOW * 1000);
  const name = Buffer.from(String(key));
  switch (kind) {
    case 'good':
      return { ...at, key: name, value: bytes(good) };
    case 'delete':
      return { ...at, key: name, value: bytes({ ...good, op: 'delete', before: good.after, after: null }) };
    case 'own':
      return { ...at, key: name, value: bytes({ ...good, origin: 'postgres' }) };
    case 'garbage':
      return {
        ...at,
        key: name,
        value: Buffer.concat([bytes(good).subarray(0, 5), Buffer.from([0xff, 0xff])]),
      };
    case 'unknown schema':
      return { ...at, key: name, value: foreignEncoder.encode(good, NOW * 1000) };
    case 'no key':
      return { ...at, key: null, value: bytes(good) };
    case 'wrong key':
      return { ...at, key: Buffer.from(`${key + 1}`), value: bytes(good) };
    case 'future':
      return { ...at, key: name, value: bytes({ ...good, ts: (NOW + 3_600_000) * 1000 }) };
    case 'beyond every date':
      return { ...at, key: name, value: bytes({ ...good, ts: 2n ** 63n - 1n }) };
    case 'unstorable':
      return { ...at, key: name, value: bytes(change(key, offset, UNSTORABLE)) };
    default:
      return kind satisfies never;
  }
}

export function batchOf(
  records: readonly StreamRecord[],
  from: bigint,
  next: bigint,
  partition = 0,
): StreamBatch {
  return { partition, from, next, end: next, records };
}

export const schemas: SchemaSource = {
  async schemaById(id) {
    if (id === OWN_SCHEMA) return changeSchema(EMPLOYEES);
    throw new PoisonError({ code: 'UNKNOWN_SCHEMA', message: `no schema ${id}` });
  },
};

export interface FakeHistory extends HistorySink {
  /** Changes in the order in which they were committed. */
  readonly applied: ReadonlyMap<number, readonly Change[]>;
  readonly offsets: ReadonlyMap<number, bigint>;
}

/** The history as a list: the offset check, all or nothing, poison by value. */
export function fakeHistory(onMove: (batch: HistoryBatch) => void = () => undefined): FakeHistory {
  const applied = new Map<number, Change[]>();
  const offsets = new Map<number, bigint>();
  return {
    applied,
    offsets,
    async claim(partitions, startAt) {
      for (const partition of partitions)
        if (!offsets.has(partition)) offsets.set(partition, startAt(partition));
      return new Map(partitions.map((partition) => [partition, offsets.get(partition) ?? 0n]));
    },
    async apply(batch) {
      if (offsets.get(batch.partition) !== batch.expected)
        throw new FencedError({ code: 'OFFSET_MOVED', message: `not at ${batch.expected}` });
      if (batch.changes.some(({ after }) => after?.[1] === UNSTORABLE))
        throw new PoisonError({ code: 'VALUE_REFUSED', message: 'value out of range' });
      onMove(batch);
      offsets.set(batch.partition, batch.next);
      applied.set(batch.partition, [...(applied.get(batch.partition) ?? []), ...batch.changes]);
      return { versionsInserted: batch.changes.length, versionsEnded: 0, lateKeys: 0 };
    },
    close: async () => undefined,
  };
}

export interface FakeDeadLetters extends DeadLetters {
  readonly letters: readonly DeadLetter[];
}

export function fakeDeadLetters(): FakeDeadLetters {
  const letters: DeadLetter[] = [];
  return {
    letters,
    async send(sent) {
      letters.push(...sent);
    },
  };
}

/** `after`: it was done, but the answer got lost. */
export type Fault = 'none' | 'before' | 'after' | 'operator' | 'poison' | 'fenced' | 'slow';

/** The same port with faults: each call takes the next one from the list. */
export function withFaults<P extends object>(port: P, methods: readonly (keyof P)[], next: () => Fault): P {
  const faulty = Object.create(port) as P;
  for (const method of methods) {
    const original = (port[method] as (...args: unknown[]) => Promise<unknown>).bind(port);
    const wrapped = async (...args: unknown[]): Promise<unknown> => {
      const fault = next();
      switch (fault) {
        case 'before':
          throw new TransientError({ code: 'UNREACHABLE', message: 'no connection' });
        case 'after':
          await original(...args);
          throw new TransientError({ code: 'LOST_ANSWER', message: 'connection reset' });
        case 'operator':
          throw new OperatorError({ code: 'REVOKED', message: 'permission denied', remedy: 'grant it' });
        case 'poison':
          throw new PoisonError({ code: 'REFUSED', message: 'a value is refused' });
        case 'fenced':
          throw new FencedError({ code: 'OFFSET_MOVED', message: 'not there' });
        case 'slow':
          for (let i = 0; i < 7; i++) await Promise.resolve();
          return original(...args);
        case 'none':
          return original(...args);
        default:
          return fault satisfies never;
      }
    };
    (faulty as Record<PropertyKey, unknown>)[method] = wrapped;
  }
  return faulty;
}
