import { accessSync, constants, existsSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { UsageError } from '../../errors.ts';
import {
  assign,
  assignmentsOfEnv,
  assignmentsOfFlags,
  type Assignment,
  type Overrides,
} from './assignments.ts';
import { pathText, type MapNode, type Node, type Path } from './fields.ts';
import { ConfigError, findingsOf, isInside, type Finding, type Problem } from './problems.ts';
import {
  configSchema,
  configTree,
  sections,
  type Config,
  type ConfigInput,
  type SectionName,
} from './schema.ts';
import { settle } from './secrets.ts';
import { fillFromStack, readStack, type ConnectionName } from './stack-endpoints.ts';
import { readYaml, whyUnreadable, type YamlFile } from './yaml-file.ts';

export interface LoadOptions {
  /** `--config`: must exist and be complete. Without it: `deltaferry.yaml` in `cwd`, and the local stack for what it leaves out. */
  readonly file?: string;
  /** Default: the process's own. */
  readonly cwd?: string;
  /** Default: the process's own. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Values by path, above file and environment: `{'kafka.brokers': 'localhost:9092'}`. */
  readonly overrides?: Overrides;
  /** Folder of the local stack that stands in for missing connections, also beside `file`. */
  readonly stackDir?: string;
}

/** A configuration and where it came from. */
export interface Loaded<T> {
  readonly config: T;
  /** The file it was read from, absolute; null where there is none. */
  readonly file: string | null;
  /** Folder of the stack that stood in for connections, absolute; null where none was needed. */
  readonly stack: string | null;
  readonly connectionsFromStack: readonly ConnectionName[];
}

/** The whole configuration. Throws a ConfigError that lists every problem; nothing is started before it returns. */
export async function loadConfig(options: LoadOptions = {}): Promise<Config> {
  return (await locateConfig(options)).config;
}

/** `loadConfig`, and where it all came from. */
export function locateConfig(options: LoadOptions = {}): Promise<Loaded<Config>> {
  return load(configSchema, configTree, options, true);
}

/** One section, for commands that need no other: the rest is neither validated nor resolved. */
export async function loadSection<N extends SectionName>(
  name: N,
  options: LoadOptions = {},
): Promise<Config[N]> {
  const schema = z.strictObject({ [name]: sections[name] });
  const tree: MapNode = { ...configTree, fields: new Map([[name, configTree.fields.get(name)!]]) };
  const { config } = await load(schema, tree, options, name === 'tables');
  return (config as Config)[name];
}

/** Validates a configuration given as an object, for tests and programs. Throws a ConfigError. */
export function parseConfig(input: ConfigInput): Config {
  const parsed = configSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  const findings = findingsOf(parsed.error.issues, input, configTree);
  throw new ConfigError(
    findings.map(({ path, message }) => ({ path: pathText(path), message })),
    REMEDY,
  );
}

const FILE_NAME = 'deltaferry.yaml';
const REMEDY = 'docs/CONFIGURATION.md describes every field (or run `deltaferry config reference`).';

async function load<T extends z.ZodType>(
  schema: T,
  tree: MapNode,
  options: LoadOptions,
  needsFile: boolean,
): Promise<Loaded<z.output<T>>> {
  const cwd = resolve(options.cwd ?? process.cwd());
  const env = options.env ?? process.env;
  const problems: Problem[] = [];
  const findings: Finding[] = [];
  const report = (problem: Problem) => problems.push(problem);

  const own = options.file === undefined ? join(cwd, FILE_NAME) : resolve(cwd, options.file);
  let file = options.file !== undefined || existsSync(own) ? own : null;
  const wanted = async (path: string): Promise<[YamlFile, Record<string, unknown>]> => {
    const yaml = await readYaml(path, labelOf(path, cwd));
    const kept = Object.entries(yaml.content).filter(
      ([name]) => tree.fields.size > 1 || tree.fields.has(name),
    );
    const around = { env, baseDir: dirname(path) };
    return [
      yaml,
      settle(Object.fromEntries(kept), tree, around, (found) => findings.push(found)) as Record<
        string,
        unknown
      >,
    ];
  };
  let [yaml, content]: [YamlFile | undefined, Record<string, unknown>] =
    file === null ? [undefined, {}] : await wanted(file);

  const fromEnv = assignmentsOfEnv(env, tree, cwd, report);
  const dir = stackDirOf(options, content, fromEnv, cwd);
  const mayUseStack = options.file === undefined || options.stackDir !== undefined;
  const endpoints = mayUseStack ? readStack(dir) : undefined;
  if (file === null && needsFile) {
    if (endpoints === undefined) throw nothingToGoBy(cwd, dir);
    // The local stack is there to try things out: the tables that the package describes are meant.
    file = packagedFile();
    [yaml, content] = await wanted(file);
  }
  const fromFlags = assignmentsOfFlags(options.overrides ?? {}, tree, content['tables'], cwd, report);
  const assignments = [...fromEnv, ...fromFlags];
  const merged = assign(content, assignments);
  const filled = endpoints === undefined ? [] : fillFromStack(merged, endpoints, tree);

  const parsed = schema.safeParse(merged);
  if (!parsed.success) {
    const broken = findings.map(({ path }) => pathText(path));
    const fresh = findingsOf(parsed.error.issues, merged, tree);
    findings.push(...fresh.filter(({ path }) => !broken.includes(pathText(path))));
  }
  findings.push(...unreadableFiles(merged, tree));

  const label = file === null ? null : labelOf(file, cwd);
  const sourced = findings.map((finding) => problemOf(finding, assignments, label, yaml));
  const all = [...sourced, ...problems];
  if (all.length > 0 || !parsed.success)
    throw new ConfigError(all, remedyOf(findings, mayUseStack, dir, cwd));
  return { config: parsed.data, file, stack: filled.length > 0 ? dir : null, connectionsFromStack: filled };
}

function packagedFile(): string {
  return fileURLToPath(new URL(`../../../${FILE_NAME}`, import.meta.url));
}

function labelOf(file: string, cwd: string): string {
  if (file === packagedFile() && dirname(file) !== cwd) return `the package's ${basename(file)}`;
  const near = relative(cwd, file);
  return near.startsWith('..') ? file : near;
}

/** Known before anything is validated, since it says where the missing connections may come from. */
function stackDirOf(
  options: LoadOptions,
  content: Record<string, unknown>,
  fromEnv: readonly Assignment[],
  cwd: string,
): string {
  const flag = options.overrides?.['stack.dir'];
  const assigned = fromEnv.find(({ path }) => pathText(path) === 'stack.dir')?.value;
  const written = (content['stack'] as { dir?: unknown } | null | undefined)?.dir;
  const dir = [options.stackDir, flag, assigned, written].find(
    (dir) => typeof dir === 'string' && dir !== '',
  );
  return resolve(cwd, (dir as string | undefined) ?? '.deltaferry');
}

function nothingToGoBy(cwd: string, dir: string): UsageError {
  return new UsageError({
    code: 'CONFIG_NOT_FOUND',
    message: `there is no configuration: no ${FILE_NAME} in ${cwd}, and no local stack is running in ${dir}`,
    remedy: `Write a ${FILE_NAME} (docs/CONFIGURATION.md) or name one with --config; or start the local stack: deltaferry stack up`,
  });
}

function problemOf(
  { path, message }: Finding,
  assignments: readonly Assignment[],
  label: string | null,
  yaml: YamlFile | undefined,
): Problem {
  const text = pathText(path);
  const set = assignments.findLast((made) => pathText(made.path) === text || isInside(path, made.path));
  if (set !== undefined) return { path: text, message, source: set.source };
  const line = yaml?.lineOf(path);
  return line === undefined ? { path: text, message } : { path: text, message, source: `${label}:${line}` };
}

const CONNECTIONS = ['kafka', 'registry', 'postgres', 'databricks'];

function remedyOf(findings: readonly Finding[], mayUseStack: boolean, dir: string, cwd: string): string {
  const missing = findings.some(
    ({ path, message }) => CONNECTIONS.includes(String(path[0])) && message.startsWith('required'),
  );
  if (!missing) return REMEDY;
  const stack =
    relative(cwd, dir) === '.deltaferry' ? 'deltaferry stack up' : `deltaferry stack up --dir ${dir}`;
  return mayUseStack
    ? `Write the connections in ${FILE_NAME} (docs/CONFIGURATION.md), or start the local stack, which stands in for them: ${stack}`
    : `Write the connections in that file (docs/CONFIGURATION.md); without --config, ./${FILE_NAME} and the running local stack (${stack}) are used.`;
}

/** Certificates are read when a connection opens; here it is only seen to that they can be. */
function unreadableFiles(value: unknown, node: Node, path: Path = []): Finding[] {
  if (node.kind === 'map' && typeof value === 'object' && value !== null)
    return [...node.fields].flatMap(([name, field]) =>
      unreadableFiles((value as Record<string, unknown>)[name], field, [...path, name]),
    );
  if (node.note.file !== true || typeof value !== 'string' || value === '') return [];
  try {
    accessSync(value, constants.R_OK);
    return [];
  } catch (error) {
    return [
      { path, message: `the file ${value} cannot be read: ${whyUnreadable(error as NodeJS.ErrnoException)}` },
    ];
  }
}
