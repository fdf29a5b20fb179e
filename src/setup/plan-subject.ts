import { isDeepStrictEqual } from 'node:util';
import { changeSchema } from '../change/avro.ts';
import type { Step } from './plan.ts';
import type { RegisteredSchema } from './ports.ts';
import { subjectOf, type SetupTable } from './request.ts';
import { typeChanges } from './schema-fit.ts';

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
  const misfits = misfitsOf(existing, latest, schema);
  return misfits.length === 0 ? [register] : misfits.map((detail) => ({ kind: 'mismatch', what, detail }));
}

/** Why the wanted schema cannot be the next version of this subject; nothing where it can. */
function misfitsOf(
  { level, refusal }: SubjectFacts,
  latest: RegisteredSchema,
  wanted: object,
): readonly string[] {
  const differs = `version ${latest.version} is not the schema of the mapping`;
  if (level !== COMPATIBILITY)
    return [
      `${differs}, and whether that can follow it the registry cannot tell: the subject's compatibility is ` +
        `${level ?? 'not set'}. Set it to ${COMPATIBILITY} and run setup again`,
    ];
  const changes = typeChanges(latest.schema, wanted);
  const reasons =
    refusal === null
      ? changes.filter(({ unseen }) => unseen).map(({ text }) => text)
      : // The registry may give no reason: then the fields that changed say it.
        [[`the registry refuses it: ${refusal}`, ...changes.map(({ text }) => text)].join('; ')];
  const remedy = 'Change the mapping back, or give the table a new topic';
  return reasons.map((reason) => `${differs}, and that cannot follow it: ${reason}. ${remedy}`);
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
