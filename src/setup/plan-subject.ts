import { isDeepStrictEqual } from 'node:util';
import { changeSchema } from '../change/avro.ts';
import type { Step } from './plan.ts';
import type { RegisteredSchema } from './ports.ts';
import { subjectOf, type SetupTable } from './request.ts';
import { valueTypeChanges } from './schema-fit.ts';

/** Old readers read new records and new readers read old ones, over all versions of the subject. */
export const COMPATIBILITY = 'FULL_TRANSITIVE';

export interface SubjectFacts {
  /** The subject's own level; null: none. */
  readonly level: string | null;
  readonly latest: RegisteredSchema | null;
  /** Why the registry would refuse the wanted schema as the next version; null where it would not or was not asked. */
  readonly refusal: string | null;
}

const NOTHING: SubjectFacts = { level: null, latest: null, refusal: null };

export function planSubject(table: SetupTable, existing: SubjectFacts = NOTHING): readonly Step[] {
  const subject = subjectOf(table.topic);
  const what = `schema ${subject}`;
  const schema = changeSchema(table.mapping);
  const { latest, level } = existing;
  const register: Step = {
    kind: 'create',
    what,
    detail:
      latest === null
        ? 'register version 1'
        : `register a version after ${latest.version}: the mapping has changed`,
    action: { do: 'register schema', subject, schema },
  };
  if (latest === null) return [...setLevel(subject, level), register];
  if (isDeepStrictEqual(latest.schema, schema))
    return [
      ...setLevel(subject, level),
      { kind: 'ok', what, detail: `version ${latest.version}, id ${latest.id}, ${COMPATIBILITY}` },
    ];
  const misfits = [
    ...valueTypeChanges(latest.schema, schema),
    ...(existing.refusal === null ? [] : [`the registry refuses it: ${existing.refusal}`]),
    ...(level === COMPATIBILITY
      ? []
      : [
          `the subject's compatibility is ${level ?? 'not set'}, so that the registry cannot tell; set it to ${COMPATIBILITY}`,
        ]),
  ];
  if (misfits.length === 0) return [register];
  return misfits.map((misfit) => ({
    kind: 'mismatch',
    what,
    detail:
      `version ${latest.version} is not the schema of the mapping, which cannot follow it: ${misfit}. ` +
      'Change the mapping back, or give the table a new topic',
  }));
}

/** Whether the registry has to be asked if it would take the wanted schema. */
export function needsCompatibilityCheck(
  table: SetupTable,
  existing: Pick<SubjectFacts, 'latest' | 'level'>,
): boolean {
  if (existing.latest === null || existing.level !== COMPATIBILITY) return false;
  return !isDeepStrictEqual(existing.latest.schema, changeSchema(table.mapping));
}

/** First of all: a registry whose default is NONE would take any second version. */
function setLevel(subject: string, level: string | null): readonly Step[] {
  if (level === COMPATIBILITY) return [];
  return [
    {
      kind: 'create',
      what: `compatibility of ${subject}`,
      detail: `set ${COMPATIBILITY}, it is ${level ?? 'not set'}`,
      action: { do: 'set compatibility', subject, level: COMPATIBILITY },
    },
  ];
}
