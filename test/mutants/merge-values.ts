import type { Mutant } from './mutant.ts';

const VALUES = 'test/connections/databricks/delta-merge-values.engine.test.ts';
const LINES = 'test/connections/databricks/merge-rows.test.ts';

/** M18 to M21 in docs/SPEC.md: what is written into the table in Delta. */
export const mergeValueMutants: readonly Mutant[] = [
  {
    promise: 'P14',
    name: 'wants the row of whatever it deletes',
    file: 'src/connections/databricks/merge-rows.ts',
    find: '(gone ? rowOfKey(change.key) : null)',
    put: 'null',
    caughtBy: [LINES, 'of a delete without its row has the key that its record has, of every type'],
    saying: /MERGE_CHANGE/,
  },
  {
    promise: 'P14',
    name: 'mixes up the columns of a key whose row is not told',
    file: 'src/connections/databricks/merge-rows.ts',
    find: '(row[keyPlaces[at]!] = keyParsers[at]!(text))',
    put: '(row[keyPlaces.toSorted()[at]!] = keyParsers[at]!(text))',
    caughtBy: [
      'test/connections/databricks/delta-merge-values.engine.test.ts',
      'finds it by the key of the record; what is merged with it goes on',
    ],
    saying: /BugError|ERR_ASSERTION|MERGE_VALUE/,
  },
  {
    promise: 'M18',
    name: 'loses the sign of a zero',
    file: 'src/change/floats.ts',
    find: "return Object.is(value, -0) ? '-0' : String(value);",
    put: 'return String(value);',
    caughtBy: [
      LINES,
      'has the exchange text of every value of every type, so that its reader gets the same value',
    ],
  },
  {
    promise: 'M18',
    name: 'writes bytes in another base than they are read in',
    file: 'src/connections/databricks/merge-rows.ts',
    find: ".toString('hex')",
    put: ".toString('base64')",
    caughtBy: [
      LINES,
      'has the exchange text of every value of every type, so that its reader gets the same value',
    ],
    saying: /VALUE_INVALID/,
  },
  {
    promise: 'M18',
    name: 'rounds integers beyond 2^53',
    file: 'src/connections/databricks/merge-rows.ts',
    find: 'return `"${value}"`;',
    put: 'return `"${Number(value)}"`;',
    caughtBy: [
      LINES,
      'has the exchange text of every value of every type, so that its reader gets the same value',
    ],
    saying: /VALUE_OUT_OF_RANGE/,
  },
  {
    promise: 'M18',
    name: 'writes texts as they are into lines',
    file: 'src/connections/databricks/merge-rows.ts',
    find: 'return JSON.stringify(value);',
    put: 'return `"${value}"`;',
    caughtBy: [LINES, 'is one line, whatever is in the values'],
  },
  {
    promise: 'M18',
    name: 'takes the first columns for those of the key in a delete',
    file: 'src/connections/databricks/merge-rows.ts',
    find: `mapping.key.flatMap((name) =>
    cells.filter((_, index) => mapping.columns[index]?.name === name),
  );`,
    put: 'cells.slice(0, mapping.key.length);',
    caughtBy: [VALUES, 'of any type finds its own row and no other, and a uuid also one in capitals'],
  },
  {
    promise: 'M18',
    name: 'adds a row beside one whose uuid is written in capitals',
    file: 'src/connections/databricks/merge-sql.ts',
    find: '${isUuid ? `lower(${name})` : name} = s.c${index}',
    put: '${name} = s.c${index}',
    caughtBy: [VALUES, 'of any type finds its own row and no other, and a uuid also one in capitals'],
  },
  {
    promise: 'M19',
    name: 'writes the columns of the key into rows that it changes',
    file: 'src/connections/databricks/merge-sql.ts',
    find: 'isKey.has(index) ? [] : [',
    put: '[',
    caughtBy: [
      'test/connections/databricks/merge-sql.test.ts',
      'writes mapped columns only, and never changes a key',
    ],
  },
  {
    promise: 'M19',
    name: 'cannot tell a column of its own from one of the table',
    file: 'src/connections/databricks/merge-sql.ts',
    find: "'s.ferry = :ferry'",
    put: "'ferry = :ferry'",
    caughtBy: [VALUES, 'keeps what is not mapped, whatever its columns are called, and may have a key twice'],
    saying: /AMBIGUOUS_REFERENCE/,
  },
  {
    promise: 'M20',
    name: 'blames a change for a column that no change brings',
    file: 'src/connections/databricks/errors.ts',
    find: `columns !== undefined &&
    (named === undefined || columns.some((column) => column.toLowerCase() === named.toLowerCase()));`,
    put: 'columns !== undefined;',
    caughtBy: [
      VALUES,
      'that needs a value which no change brings stops the sink; one that refuses a change’s value does not',
    ],
  },
  {
    promise: 'M20',
    name: 'waits for a person where a value does not fit into the column',
    file: 'src/connections/databricks/errors.ts',
    find: '|CAST_OVERFLOW_IN_TABLE_WRITE|',
    put: '|',
    caughtBy: [VALUES, 'narrower than the mapping refuses what does not fit, and rounds nothing'],
  },
  {
    promise: 'M20',
    name: 'hopes that a table that is gone comes back by itself',
    file: 'src/connections/databricks/errors.ts',
    find: "code: 'DELTA_TABLE_MISSING',\n    build: operator,",
    put: "code: 'DELTA_TABLE_MISSING',\n    build: transient,",
    caughtBy: [VALUES, 'a table that is gone, and then is there again'],
  },
  {
    promise: 'M20',
    name: 'sends with its statement whatever there is',
    file: 'src/connections/databricks/merge-source.ts',
    find: 'if (bytes > MOST_INLINE_BYTES) throw tooLarge(mapping, bytes);',
    put: '',
    caughtBy: [VALUES, 'a batch too large for a statement, where no volume is configured'],
  },
  {
    promise: 'M21',
    name: 'leaves the files that it has merged',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'source.discard(rows);',
    put: '',
    caughtBy: [
      VALUES,
      'are removed once merged; those of a crash are swept by the next process, others’ are left',
    ],
  },
  {
    promise: 'M21',
    name: 'leaves what a crash has left',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'await staging?.sweep(now.offsets).catch(() => {});',
    put: '',
    caughtBy: [
      VALUES,
      'are removed once merged; those of a crash are swept by the next process, others’ are left',
    ],
  },
  {
    promise: 'M21',
    name: 'removes files that another is about to merge',
    file: 'src/connections/databricks/staging.ts',
    find: 'if ((offsets.get(Number(partition)) ?? -1n) >= BigInt(next))',
    put: 'if (offsets.has(Number(partition)))',
    caughtBy: [
      VALUES,
      'are removed once merged; those of a crash are swept by the next process, others’ are left',
    ],
  },
  {
    promise: 'M21',
    name: 'waits for a person where a staged file is gone',
    file: 'src/connections/databricks/merge-statement.ts',
    find: 'throw isGone(rows.file, error) ? stagedFileGone(rows.file, error) : error;',
    put: 'throw error;',
    caughtBy: [VALUES, 'that are gone before they are merged are staged anew'],
  },
];
