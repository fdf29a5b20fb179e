import type { Mutant } from './mutant.ts';

/** D8, D9 and D11: where a record goes, what is in it, and how large it may be. */
const FETCH_LOOP = 'test/connections/kafka/fetch-loop.test.ts';

export const recordMutants: readonly Mutant[] = [
  {
    promise: 'D8',
    name: 'sends some keys to another partition than other clients do',
    file: 'src/connections/kafka/partitioner.ts',
    find: '(murmur2(key) & 0x7fffffff) % partitions',
    put: 'Math.abs(murmur2(key)) % partitions',
    caughtBy: [
      'test/connections/kafka/partitioner.test.ts',
      'a key lands where every Kafka client would put it',
    ],
  },
  {
    promise: 'D8',
    name: 'writes a key of two columns in another way than before',
    file: 'src/change/key.ts',
    find: 'JSON.stringify(parts.map((part) => part(row)))',
    put: "parts.map((part) => part(row)).join('|')",
    caughtBy: ['test/change/key.test.ts', 'keys have one text each, which never changes'],
  },
  {
    promise: 'D9',
    name: 'writes negative integers beyond 32 bits one too high',
    file: 'src/change/avro-writer.ts',
    find: 'this.#zigzag(Math.floor(value / TWO_32), value >>> 0);',
    put: 'this.#zigzag(Math.trunc(value / TWO_32), value >>> 0);',
    caughtBy: [
      'test/change/avro.test.ts',
      'property: whole changes cross the topic unchanged, as avsc reads and writes them',
    ],
    // In a key the record contradicts itself.
    saying: /ERR_ASSERTION|its row has the key/,
  },
  {
    promise: 'D9',
    name: 'reads decimals of seven bytes as doubles',
    file: 'src/change/avro-reader.ts',
    find: 'const narrow = Math.min(size, 6);',
    put: 'const narrow = size;',
    caughtBy: [
      'test/change/avro.test.ts',
      'property: whole changes cross the topic unchanged, as avsc reads and writes them',
    ],
    // What is read wrong may have more digits than the column.
    saying: /ERR_ASSERTION|column c \(numeric/,
  },
  {
    promise: 'D9',
    name: 'cuts times to milliseconds',
    file: 'src/connections/databricks/changes-sql.ts',
    find: 'cast(unix_micros(cast(${column} AS timestamp)) AS string)',
    put: 'cast(unix_millis(cast(${column} AS timestamp)) * 1000 AS string)',
    caughtBy: [
      'test/change/types.engine.test.ts',
      'every end of every type goes from Delta over the wire to Postgres unchanged',
    ],
  },
  {
    promise: 'D11',
    name: 'asks first only for partitions that had a fetch for themselves',
    file: 'src/connections/kafka/partition-flow.ts',
    find: 'this.#starved = fetched.next',
    put: 'this.#starved = nothing && fetched.next',
    caughtBy: [
      'test/connections/kafka/partition-flow.test.ts',
      'a partition whose batches are larger than a fetch takes is asked for first',
    ],
  },
  {
    promise: 'D11',
    name: 'leaves a refused transaction open, so that nobody can read on',
    file: 'src/connections/kafka/change-log.ts',
    find: "failure.kind === 'operator')",
    put: "failure.kind === 'transient')",
    caughtBy: [
      'test/connections/kafka/change-log.engine.test.ts',
      'refuses a record that the topic does not take, names it, and goes on once the limit is raised',
    ],
    saying: /not within \d+ ms: the transactions on .* to be decided/,
  },
  {
    promise: 'D11',
    name: 'writes letters that are too large together in one request',
    file: 'src/connections/kafka/request-size.ts',
    find: 'const BYTES_PER_PARTITION = 700_000;',
    put: 'const BYTES_PER_PARTITION = 7_000_000;',
    caughtBy: [
      'test/connections/kafka/dead-letters.engine.test.ts',
      'are written though together they are larger than a record batch may be',
    ],
    saying: /refused a record: that of key k0/,
  },
  {
    promise: 'D11',
    name: 'fetches as much as ever, whatever comes of it',
    file: 'src/connections/kafka/fetch-loop.ts',
    find: 'Math.min(limits.maxBytes, room.bytes() * parts) * stretch',
    put: 'limits.maxBytes * stretch',
    caughtBy: [FETCH_LOOP, 'is bounded, however little of the topic it is'],
  },
  {
    promise: 'D11',
    name: 'fetches more however much is held already',
    file: 'src/connections/kafka/fetch-loop.ts',
    find: 'if (underWay.has(leader) || parts === 0) continue;',
    put: 'if (underWay.has(leader)) continue;',
    caughtBy: [FETCH_LOOP, 'is one batch in any case, however large: every partition comes to its end'],
  },
  {
    promise: 'D11',
    name: 'leaves the room to a partition that rests',
    file: 'src/connections/kafka/assignment.ts',
    find: `      loop.wake();
      if (outcome.kind !== 'pause') continue;`,
    put: `      if (outcome.kind !== 'pause') {
        loop.wake();
        continue;
      }`,
    caughtBy: [FETCH_LOOP, 'goes on with what a partition held that rests, is taken away or loses its place'],
  },
  {
    promise: 'D11',
    name: 'leaves the room to a partition that was taken away',
    file: 'src/connections/kafka/assignment.ts',
    find: `    // What these held is room for others.
    loop.wake();`,
    put: '',
    caughtBy: [FETCH_LOOP, 'goes on with what a partition held that rests, is taken away or loses its place'],
  },
  {
    promise: 'D11',
    name: 'decodes a fetch to its end, whatever comes of it',
    file: 'src/connections/kafka/record-batch-decoder.ts',
    find: ' || before >= MOST_DECODED',
    put: '',
    caughtBy: [
      'test/connections/kafka/record-batches.test.ts',
      'is decoded as long as not much has come of its partition in this fetch, one in any case',
    ],
  },
];
