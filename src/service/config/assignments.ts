import { envNameOf, nodeAt, pathText, settableFields, type MapNode, type Node, type Path } from './fields.ts';
import { nearest } from './nearest.ts';
import type { Problem } from './problems.ts';
import { didYouMean } from './rules.ts';
import { isSecret, place, readSecret, typed } from './secrets.ts';

/** One field set from outside of the file. */
export interface Assignment {
  readonly path: Path;
  readonly value: unknown;
  /** `--set kafka.brokers`, or the name of an environment variable. */
  readonly source: string;
}

export type Overrides = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** The fields that `DELTAFERRY_…` variables set; an empty variable counts as unset. */
export function assignmentsOfEnv(
  env: Readonly<Record<string, string | undefined>>,
  tree: MapNode,
  cwd: string,
  report: (problem: Problem) => void,
): Assignment[] {
  const known = new Set<string>();
  const assignments: Assignment[] = [];
  for (const [path, node] of settableFields(tree)) {
    const source = envNameOf(path);
    known.add(source);
    if (isSecret(node)) known.add(`${source}_FILE`);
    const text = env[source];
    const file = isSecret(node) ? env[`${source}_FILE`] : undefined;
    if (text !== undefined && text !== '') {
      assignments.push({ path, value: place(typed(text, node), node, cwd), source });
    } else if (file !== undefined && file !== '') {
      const name = `${source}_FILE`;
      const value = readSecret(file, path, cwd, ({ message }) => report({ path: name, message }));
      if (value !== undefined) assignments.push({ path, value, source: name });
    }
  }
  for (const name of Object.keys(env)) {
    if (known.has(name) || !isOurs(name, tree)) continue;
    report({ path: name, message: `unknown environment variable${didYouMean(nearest(name, known))}` });
  }
  return assignments;
}

/**
 * Names under a section's prefix are ours, except those that Kubernetes makes up for a service
 * called, say, `deltaferry-http`.
 */
function isOurs(name: string, tree: MapNode): boolean {
  if (/_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP)(_\w+)?)?$/.test(name)) return false;
  return [...tree.fields.keys()].some((section) => name.startsWith(`${envNameOf([section])}_`));
}

/** The fields that `--set path=value` and dedicated flags set. `tables.employees` stands for its index. */
export function assignmentsOfFlags(
  overrides: Overrides,
  tree: MapNode,
  tables: unknown,
  cwd: string,
  report: (problem: Problem) => void,
): Assignment[] {
  return Object.entries(overrides).flatMap(([written, value]): Assignment[] => {
    const source = `--set ${written}`;
    const path = parsePath(written, tables);
    const node = nodeAt(tree, path);
    if (node === undefined) {
      report({ path: source, message: `unknown field${didYouMean(nearestPath(written, tree))}` });
      return [];
    }
    if (node.kind === 'map' || (node.kind === 'list' && node.item.kind !== 'text')) {
      report({
        path: source,
        message: `is a section; set one of its fields, such as ${written}${intoField(node)}`,
      });
      return [];
    }
    const missing = path.findIndex(
      (step, at) => typeof step === 'number' && !hasTable(tables, path.slice(0, at + 1)),
    );
    if (missing >= 0) {
      report({ path: source, message: `there is no ${pathText(path.slice(0, missing + 1))}` });
      return [];
    }
    return [
      { path, value: typeof value === 'string' ? place(typed(value, node), node, cwd) : value, source },
    ];
  });
}

/** A copy of the content with the assignments made. */
export function assign(
  content: Record<string, unknown>,
  assignments: readonly Assignment[],
): Record<string, unknown> {
  const result = structuredClone(content);
  for (const { path, value } of assignments) {
    let at: Record<string | number, unknown> = result;
    for (const step of path.slice(0, -1)) {
      if (typeof at[step] !== 'object' || at[step] === null) at[step] = {};
      at = at[step] as Record<string | number, unknown>;
    }
    at[path.at(-1)!] = value;
  }
  return result;
}

function parsePath(text: string, tables: unknown): Path {
  const path = text.split('.').flatMap((part): (string | number)[] => {
    const [name, ...indexes] = part.split(/\[(\d+)\]/).filter((piece) => piece !== '');
    return [name ?? '', ...indexes.map(Number)];
  });
  if (path[0] !== 'tables' || typeof path[1] !== 'string' || !Array.isArray(tables)) return path;
  const at = tables.findIndex((table: unknown) => (table as { name?: unknown } | null)?.name === path[1]);
  return at < 0 ? path : ['tables', at, ...path.slice(2)];
}

/** Whether an index exists in the file; only what hangs under `tables` has indexes. */
function hasTable(tables: unknown, path: Path): boolean {
  let at: unknown = { tables };
  for (const step of path) at = (at as Record<string | number, unknown> | null | undefined)?.[step];
  return at !== undefined;
}

function nearestPath(written: string, tree: MapNode): string | undefined {
  const known = settableFields(tree).map(([path]) => path.join('.'));
  return nearest(written, known) ?? known.find((path) => path.endsWith(`.${written}`));
}

/** How to go on from a section's path: `.brokers`, `[0].name`. */
function intoField(node: Node): string {
  if (node.kind === 'list') return `[0]${intoField(node.item)}`;
  return node.kind === 'map' ? `.${[...node.fields.keys()][0]}` : '';
}
