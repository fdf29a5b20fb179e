import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Node, Path } from './fields.ts';
import type { Finding } from './problems.ts';
import { encodeIn } from './url-credentials.ts';
import { whyUnreadable } from './yaml-file.ts';

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folder that relative paths start from. */
  readonly baseDir: string;
}

/**
 * A file's content with `${VAR}` and `${VAR:-default}` replaced, `{file: path}` secrets read and
 * paths made absolute. What cannot be resolved is reported and left as it was written.
 */
export function settle(
  content: unknown,
  tree: Node,
  around: Surroundings,
  report: (finding: Finding) => void,
): unknown {
  return settleAt(content, tree, [], around, report);
}

function settleAt(
  value: unknown,
  node: Node | undefined,
  path: Path,
  around: Surroundings,
  report: (finding: Finding) => void,
): unknown {
  if (typeof value === 'string') {
    const put = node?.note.secret === 'url' ? encodeIn(value, PLACEHOLDER) : asItIs;
    const text = substitute(value, around.env, put, (message) => report({ path, message }));
    return text === value
      ? place(value, node, around.baseDir)
      : place(typed(text, node), node, around.baseDir);
  }
  if (Array.isArray(value))
    return value.map((item, at) =>
      settleAt(item, node?.kind === 'list' ? node.item : undefined, [...path, at], around, report),
    );
  if (typeof value !== 'object' || value === null) return value;
  const settled = Object.fromEntries(
    Object.entries(value).map(([name, field]) => {
      const of = node?.kind === 'map' ? node.fields.get(name) : undefined;
      return [name, settleAt(field, of, [...path, name], around, report)];
    }),
  );
  return isSecretFile(settled, node) ? readSecret(settled.file, path, around.baseDir, report) : settled;
}

/** Text from outside of YAML, as the type its field wants; left as text where it does not look like it. */
export function typed(text: string, node: Node | undefined): string | number | boolean {
  if (node?.kind === 'number' && /^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (node?.kind === 'boolean' && /^(true|false)$/i.test(text)) return text.toLowerCase() === 'true';
  return text;
}

/** Makes a path absolute; anything else is left alone. */
export function place(
  value: string | number | boolean,
  node: Node | undefined,
  baseDir: string,
): typeof value {
  const isPath = node?.note.file === true || node?.note.folder === true;
  return isPath && typeof value === 'string' && value !== '' ? resolve(baseDir, value) : value;
}

export function isSecret(node: Node | undefined): boolean {
  return node?.note.secret !== undefined;
}

/** The secret in a file, without the newline that editors put at its end; undefined where it cannot be read. */
export function readSecret(
  file: string,
  path: Path,
  baseDir: string,
  report: (finding: Finding) => void,
): string | undefined {
  try {
    return readFileSync(resolve(baseDir, file), 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    report({
      path,
      message: `the file ${file} cannot be read: ${whyUnreadable(error as NodeJS.ErrnoException)}`,
    });
    return undefined;
  }
}

const PLACEHOLDER = /\$\$\{|\$\{([A-Za-z_]\w*)(:-([^}]*))?\}|\$\{/g;

const asItIs = (value: string): string => value;

/** `$${` stands for a plain `${`. */
function substitute(
  text: string,
  env: Surroundings['env'],
  put: (value: string, offset: number) => string,
  report: (message: string) => void,
): string {
  type Groups = [name?: string, fallback?: string, instead?: string, offset?: number];
  return text.replaceAll(PLACEHOLDER, (whole, ...[name, fallback, instead, offset]: Groups) => {
    if (whole === '$${') return '${';
    if (name === undefined) {
      report(
        '${ must begin ${VARIABLE} or ${VARIABLE:-default}; write $${ for the two characters themselves',
      );
      return whole;
    }
    const value = env[name];
    if (fallback !== undefined) return put(value === undefined || value === '' ? instead! : value, offset!);
    if (value === undefined)
      report(`the environment variable ${name} is not set; set it, or write \${${name}:-default}`);
    return value === undefined ? whole : put(value, offset!);
  });
}

function isSecretFile(value: object, node: Node | undefined): value is { file: string } {
  const { file } = value as { file?: unknown };
  return isSecret(node) && typeof file === 'string' && Object.keys(value).length === 1;
}
