import type { DeltaTableFacts } from '../../src/connections/databricks/delta-table.ts';
import type { HistoryTableFacts } from '../../src/connections/postgres/history-table.ts';
import type { NewTopic, RegisteredSchema, SetupPorts, TopicFacts } from '../../src/setup/ports.ts';
import { goodCapture, goodDelta, goodEpochs, goodHistory, uncaptured } from './existing-things.ts';

/** Everything in memory; what a test is about, it replaces. */
export function fakePorts(replaced: Partial<SetupPorts> = {}): SetupPorts {
  const topics = new Map<string, TopicFacts>();
  const levels = new Map<string, string>();
  const schemas = new Map<string, RegisteredSchema>();
  const tables = new Map<string, HistoryTableFacts>();
  const deltas = new Map<string, DeltaTableFacts>();
  const captured = new Set<string>();
  const pending = ['0001_control', '0002_capture_and_merge'];
  return {
    control: {
      pending: () => Promise.resolve([...pending]),
      migrate: () => Promise.resolve(pending.splice(0)),
    },
    topics: {
      describe: (names) => Promise.resolve(new Map([...topics].filter(([name]) => names.includes(name)))),
      create(wanted: readonly NewTopic[]) {
        for (const { topic, partitions, config } of wanted) topics.set(topic, { partitions, config });
        return Promise.resolve();
      },
    },
    subjects: {
      latest: (subject) => Promise.resolve(schemas.get(subject) ?? null),
      compatibility: (subject) => Promise.resolve(levels.get(subject) ?? null),
      setCompatibility: (subject, level) => Promise.resolve(void levels.set(subject, level)),
      incompatibility: () => Promise.resolve(null),
      register(subject, schema) {
        const version = (schemas.get(subject)?.version ?? 0) + 1;
        schemas.set(subject, { id: version, version, schema });
        return Promise.resolve(version);
      },
    },
    histories: {
      describe: (table) =>
        Promise.resolve(tables.get(table) ?? { exists: false, schemaExists: true, enums: new Map() }),
      create: (table) => Promise.resolve(void tables.set(table, goodHistory)),
    },
    deltas: {
      describe: (table) => Promise.resolve(deltas.get(table) ?? null),
      create: (table) =>
        Promise.resolve(void deltas.set(table, table.endsWith('_epochs') ? goodEpochs : goodDelta)),
    },
    captures: {
      describe: (target) =>
        Promise.resolve({
          ...(captured.has(target.mapping.name) ? goodCapture : uncaptured),
          table: tables.get(target.table) ?? { exists: false, schemaExists: true, enums: new Map() },
        }),
      install: ({ mapping }) => Promise.resolve(void captured.add(mapping.name)),
    },
    ...replaced,
  };
}
