import { BugError, OperatorError, PoisonError, type DeltaferryError } from '../../errors.ts';
import { openRegistryHttp, type RegistryAnswer, type RegistryOptions } from './http.ts';

export type { RegistryOptions } from './http.ts';

export interface RegisteredSchema {
  readonly id: number;
  readonly version: number;
  readonly schema: object;
}

export interface SchemaRegistry {
  /**
   * The schema that records name by this id. Where the registry does not know it: a PoisonError if it
   * does know `ownSubject`, which our producers register, else an OperatorError (a wiped registry).
   */
  schemaById(id: number, ownSubject?: string): Promise<object>;
  /** Id of the newest version; null where the subject does not exist. */
  latestId(subject: string): Promise<number | null>;
  latest(subject: string): Promise<RegisteredSchema | null>;
  /** The subject's own compatibility level; null where it has none and the registry's default holds. */
  compatibility(subject: string): Promise<string | null>;
  setCompatibility(subject: string, level: string): Promise<void>;
  /** Why the registry would refuse this schema as the next version under the subject's level; null: it would not. */
  incompatibility(subject: string, schema: object): Promise<string | null>;
  /** Registers it, or finds it where it is registered already; answers its id. */
  register(subject: string, schema: object): Promise<number>;
  close(): void;
}

const CACHED_SCHEMAS = 1000;
// Registries hand out positive 32 bit ids; some answer a larger one as if their address were wrong.
const LARGEST_ID = 0x7fffffff;
const NOT_FOUND = 404;
const CONFLICT = 409;

/** A schema registry with the Confluent API. Schemas never change under their id: they are kept. */
export function createSchemaRegistry(options: RegistryOptions): SchemaRegistry {
  const http = openRegistryHttp(options);
  const cache = new Map<number, Promise<object>>();

  async function schemaById(id: number, ownSubject?: string): Promise<object> {
    const cached = cache.get(id);
    if (cached !== undefined) return cached;
    const asked = ask(id, ownSubject);
    remember(id, asked);
    // What was not found today may be tomorrow.
    asked.catch(() => cache.delete(id));
    return asked;
  }

  function remember(id: number, schema: Promise<object>): void {
    const [oldest] = cache.keys();
    if (cache.size >= CACHED_SCHEMAS && oldest !== undefined) cache.delete(oldest);
    cache.set(id, schema);
  }

  async function ask(id: number, ownSubject: string | undefined): Promise<object> {
    const schema = await find(id);
    if (schema !== null) return schema;
    throw await unknownId(id, ownSubject);
  }

  async function find(id: number): Promise<object | null> {
    if (id > LARGEST_ID) return null;
    const answer = await http.call({ method: 'GET', path: `schemas/ids/${id}`, expected: [NOT_FOUND] });
    return isMissing(answer, `schemas/ids/${id}`) ? null : parseSchema(answer.body);
  }

  async function unknownId(id: number, ownSubject: string | undefined): Promise<DeltaferryError> {
    const own = ownSubject === undefined ? null : await latestId(ownSubject);
    if (own !== null && (await find(own)) !== null)
      return new PoisonError({
        code: 'UNKNOWN_SCHEMA',
        message: `The schema registry has no schema ${id}, though it has ${own} of ${ownSubject ?? ''}: the record is not one of ours.`,
        remedy: 'Find what else writes to this topic.',
      });
    return new OperatorError({
      code: 'REGISTRY_WIPED',
      message: `The schema registry knows neither schema ${id}${ownSubject === undefined ? '' : ` nor the subject ${ownSubject}`}: it looks wiped, or is another one.`,
      remedy: 'Check registry.url; restore the registry with its old schema ids. Nothing is lost meanwhile.',
    });
  }

  async function latest(subject: string): Promise<RegisteredSchema | null> {
    const path = `subjects/${encodeURIComponent(subject)}/versions/latest`;
    const answer = await http.call({ method: 'GET', path, expected: [NOT_FOUND] });
    if (isMissing(answer, path)) return null;
    const { id, version } = answer.body as { id: number; version: number };
    return { id, version, schema: parseSchema(answer.body) };
  }

  async function latestId(subject: string): Promise<number | null> {
    return (await latest(subject))?.id ?? null;
  }

  async function compatibility(subject: string): Promise<string | null> {
    const path = `config/${encodeURIComponent(subject)}`;
    const answer = await http.call({ method: 'GET', path, expected: [NOT_FOUND] });
    if (isMissing(answer, path)) return null;
    return (answer.body as { compatibilityLevel?: string }).compatibilityLevel ?? null;
  }

  async function setCompatibility(subject: string, level: string): Promise<void> {
    const path = `config/${encodeURIComponent(subject)}`;
    const put = { method: 'PUT', path, body: { compatibility: level } } as const;
    // Of two that set the first level of a subject at once, Apicurio refuses one, and takes it for a change when asked again.
    const { status } = await http.call({ ...put, expected: [CONFLICT] });
    if (status === CONFLICT) await http.call(put);
  }

  async function incompatibility(subject: string, schema: object): Promise<string | null> {
    // Without a version: against all those that the subject's level asks for.
    const path = `compatibility/subjects/${encodeURIComponent(subject)}/versions?verbose=true`;
    const answer = await http.call({ method: 'POST', path, body: schemaBody(schema), expected: [NOT_FOUND] });
    if (isMissing(answer, path)) return null;
    const { is_compatible: compatible, messages } = answer.body as {
      is_compatible: boolean;
      messages?: readonly string[];
    };
    if (compatible) return null;
    return messages?.join('; ') ?? 'the registry gives no reason';
  }

  async function register(subject: string, schema: object): Promise<number> {
    const path = `subjects/${encodeURIComponent(subject)}/versions`;
    const answer = await http.call({ method: 'POST', path, body: schemaBody(schema), expected: [CONFLICT] });
    if (answer.status === CONFLICT)
      throw new OperatorError({
        code: 'SCHEMA_INCOMPATIBLE',
        message: `The schema registry refuses the schema of ${subject}: ${(answer.body as { message?: string }).message ?? 'incompatible'}`,
        remedy: 'Only add or remove columns that may be null; another change needs a new topic.',
      });
    return (answer.body as { id: number }).id;
  }

  return {
    schemaById,
    latestId,
    latest,
    compatibility,
    setCompatibility,
    incompatibility,
    register,
    close: () => http.close(),
  };
}

function schemaBody(schema: object): object {
  return { schemaType: 'AVRO', schema: JSON.stringify(schema) };
}

/** Only the registry's own word counts: a proxy or a wrong path answers 404 to everything. */
function isMissing(answer: RegistryAnswer, path: string): boolean {
  if (answer.status !== NOT_FOUND) return false;
  if (answer.errorCode !== null && answer.errorCode > 40_000) return true;
  throw new OperatorError({
    code: 'REGISTRY_URL',
    message: `The schema registry answered 404 to ${path} without the code of the Confluent API.`,
    remedy: 'Check registry.url in the configuration (Apicurio needs the path /apis/ccompat/v7).',
  });
}

function parseSchema(body: unknown): object {
  const { schema } = body as { schema?: unknown };
  try {
    const parsed: unknown = JSON.parse(String(schema));
    if (typeof parsed === 'object' && parsed !== null) return parsed;
  } catch {
    // Answered below.
  }
  throw new BugError({
    code: 'REGISTRY_SCHEMA',
    message: 'The schema registry answered with a schema that is not an Avro record.',
  });
}
