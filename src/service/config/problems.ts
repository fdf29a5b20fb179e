import type { z } from 'zod';
import { UsageError } from '../../errors.ts';
import { nodeAt, pathText, type MapNode, type Path } from './fields.ts';
import { nearest } from './nearest.ts';
import { didYouMean } from './rules.ts';

/** One thing that is wrong with the configuration. It never carries a field's value. */
export interface Problem {
  /** `tables[0].columns[2].type`, or the name of an environment variable. */
  readonly path: string;
  readonly message: string;
  /** Where it was written: `deltaferry.yaml:12`, `--set`, an environment variable; absent for a missing field. */
  readonly source?: string;
}

/** Everything that is wrong, in one error. */
export class ConfigError extends UsageError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[], remedy: string) {
    super({ code: 'CONFIG_INVALID', message: describe(problems), remedy });
    this.problems = problems;
  }
}

function describe(problems: readonly Problem[]): string {
  const lines = problems.map(({ path, message, source }) => {
    const place = source === undefined || source === path ? '' : ` (${source})`;
    return `${path}${place}: ${message}`;
  });
  if (lines.length === 1) return lines[0]!;
  return [`the configuration has ${lines.length} problems`, ...lines.map((line) => `  ${line}`)].join('\n');
}

/** A problem whose path still leads into the configuration as it was written. */
export interface Finding {
  readonly path: Path;
  readonly message: string;
}

/** What zod found, in words. `raw` is what it was given. */
export function findingsOf(issues: readonly z.core.$ZodIssue[], raw: unknown, tree: MapNode): Finding[] {
  const found = issues.flatMap((issue): Finding[] => {
    const path = writtenPath(issue.path as Path, raw);
    if (issue.code !== 'unrecognized_keys') return [{ path, message: messageOf(issue, valueAt(raw, path)) }];
    return issue.keys.map((key) => ({
      path: [...path, key],
      message: `unknown field${suggest(tree, issue.path as Path, key)}`,
    }));
  });
  return found.filter(({ path }) => !found.some((other) => isInside(path, other.path)));
}

export function isInside(path: Path, outer: Path): boolean {
  return path.length > outer.length && outer.every((step, at) => step === path[at]);
}

const NAMES: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a map',
  array: 'a list',
};

function messageOf(issue: z.core.$ZodIssue, value: unknown): string {
  if (value === undefined && issue.code !== 'custom') return 'required';
  if (issue.code === 'invalid_type') {
    if (issue.expected === 'int' && typeof value === 'number')
      return 'expected a whole number, got a fraction';
    const hint = issue.expected === 'string' && isScalar(value) ? ' (put it in quotes)' : '';
    return `expected ${NAMES[issue.expected] ?? issue.expected}, got ${kindOf(value)}${hint}`;
  }
  if (issue.code === 'too_small')
    return isNumber(issue.origin) ? `must be at least ${issue.minimum}` : 'must not be empty';
  if (issue.code === 'too_big')
    return `must be at most ${issue.maximum}${isNumber(issue.origin) ? '' : ' characters long'}`;
  if (issue.code !== 'invalid_value') return issue.message;
  const choices = issue.values.map(String);
  const slip = typeof value === 'string' ? nearest(value, choices) : undefined;
  return `must be one of ${choices.join(', ')}${didYouMean(slip)}`;
}

function isNumber(origin: string): boolean {
  return origin === 'number' || origin === 'int';
}

function isScalar(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'boolean';
}

function kindOf(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return KINDS[typeof value] ?? `a ${typeof value}`;
}

const KINDS: Readonly<Record<string, string>> = { string: 'text', object: 'a map', boolean: 'true or false' };

/** Looks among the fields of the same map first, then for a field of that name anywhere. */
function suggest(tree: MapNode, path: Path, key: string): string {
  const map = nodeAt(tree, path);
  const siblings = map?.kind === 'map' ? [...map.fields.keys()] : [];
  const sibling = nearest(key, siblings);
  if (sibling !== undefined) return didYouMean(sibling);
  const elsewhere = allPaths(tree).find((known) => known.at(-1) === key);
  return didYouMean(elsewhere === undefined ? undefined : pathText(elsewhere));
}

function allPaths(tree: MapNode, above: readonly string[] = []): string[][] {
  return [...tree.fields].flatMap(([name, node]) => {
    const path = [...above, name];
    return node.kind === 'map' ? [path, ...allPaths(node, path)] : [path];
  });
}

/**
 * The path as the user wrote it: `columns.salary` where the columns are a map, `key` where a list
 * was written as one text.
 */
function writtenPath(path: Path, raw: unknown): Path {
  const written: (string | number)[] = [];
  let at = raw;
  for (let step = 0; step < path.length; step++) {
    const name = path[step]!;
    if (typeof name === 'number' && typeof at === 'string') break;
    if (typeof name === 'number' && isMap(at)) {
      const [key, value] = Object.entries(at)[name] ?? [String(name), undefined];
      written.push(key);
      at = value;
      step++;
    } else {
      written.push(name);
      at = valueAt(at, [name]);
    }
  }
  return written;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}
