import type { DeltaTableFacts } from '../connections/databricks/delta-table.ts';
import type { CaptureFacts } from '../connections/postgres/captured-table.ts';
import type { HistoryTableFacts } from '../connections/postgres/history-table.ts';
import { changeSchema } from '../change/avro.ts';
import { captureTargetOf, nameProblem } from './plan-capture.ts';
import { epochTables } from './plan-epochs.ts';
import type { Existing } from './plan.ts';
import { needsCompatibilityCheck, type SubjectFacts } from './plan-subject.ts';
import { topicNames } from './plan-topics.ts';
import type { SetupPorts } from './ports.ts';
import { subjectOf, type SetupRequest, type SetupTable } from './request.ts';

/** Reads everything that the request names; changes nothing. Throws what the connections throw. */
export async function readExisting(wanted: SetupRequest, ports: SetupPorts): Promise<Existing> {
  const [pendingMigrations, topics, subjects, histories, deltas, epochs, captures] = await Promise.all([
    ports.control.pending(),
    ports.topics.describe(topicNames(wanted)),
    Promise.all(wanted.tables.map((table) => readSubject(table, ports))),
    Promise.all(wanted.tables.map((table) => readHistory(table, ports))),
    Promise.all(wanted.tables.map((table) => readDelta(table, ports))),
    Promise.all(
      epochTables(wanted).map(async (table) => [table, await ports.deltas.describe(table)] as const),
    ),
    Promise.all(wanted.tables.map((table) => readCapture(table, ports))),
  ]);
  return {
    pendingMigrations,
    topics,
    subjects: new Map(subjects),
    histories: new Map(histories.flat()),
    deltas: new Map([...deltas.flat(), ...epochs]),
    captures: new Map(captures.flat()),
  };
}

async function readSubject(
  table: SetupTable,
  { subjects }: SetupPorts,
): Promise<readonly [string, SubjectFacts]> {
  const subject = subjectOf(table.topic);
  const [latest, level] = await Promise.all([subjects.latest(subject), subjects.compatibility(subject)]);
  const refusal = needsCompatibilityCheck(table, { latest, level })
    ? await subjects.incompatibility(subject, changeSchema(table.mapping))
    : null;
  return [subject, { latest, level, refusal }];
}

async function readHistory(
  { historyTable, mapping }: SetupTable,
  { histories }: SetupPorts,
): Promise<readonly (readonly [string, HistoryTableFacts])[]> {
  return historyTable === undefined ? [] : [[historyTable, await histories.describe(historyTable, mapping)]];
}

async function readDelta(
  { deltaTable }: SetupTable,
  { deltas }: SetupPorts,
): Promise<readonly (readonly [string, DeltaTableFacts | null])[]> {
  return deltaTable === undefined ? [] : [[deltaTable, await deltas.describe(deltaTable)]];
}

async function readCapture(
  table: SetupTable,
  { captures }: SetupPorts,
): Promise<readonly (readonly [string, CaptureFacts])[]> {
  const target = captureTargetOf(table);
  // Without names there is nothing to look for.
  if (target === null || nameProblem(target.mapping.name) !== null) return [];
  return [[table.mapping.name, await captures.describe(target)]];
}
