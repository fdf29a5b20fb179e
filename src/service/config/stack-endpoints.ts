import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../../errors.ts';
import type { MapNode } from './fields.ts';

/** The field without which a section names no server: where it is absent, the local stack stands in. */
const ANCHORS = { kafka: 'brokers', registry: 'url', postgres: 'url', databricks: 'host' } as const;

export type ConnectionName = keyof typeof ANCHORS;

type StackEndpoints = Readonly<Record<ConnectionName, Readonly<Record<string, unknown>>>>;

/** What a running local stack has written of itself; undefined where none runs in that folder. */
export function readStack(dir: string): StackEndpoints | undefined {
  const file = join(dir, 'stack.json');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  try {
    return JSON.parse(text) as StackEndpoints;
  } catch (cause) {
    throw new UsageError({
      code: 'STACK_FILE_BROKEN',
      message: `${file} is not JSON`,
      remedy: 'Restart the local stack: deltaferry stack down, then deltaferry stack up',
      cause,
    });
  }
}

/** Completes, in place, the connection sections without a server; answers which. */
export function fillFromStack(
  content: Record<string, unknown>,
  endpoints: StackEndpoints,
  tree: MapNode,
): ConnectionName[] {
  const names = Object.keys(ANCHORS) as ConnectionName[];
  return names.filter((name) => {
    const section = content[name] ?? {};
    if (!tree.fields.has(name) || typeof section !== 'object' || ANCHORS[name] in section) return false;
    content[name] = { ...endpoints[name], ...section };
    return true;
  });
}
