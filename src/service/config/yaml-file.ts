import { readFile } from 'node:fs/promises';
import {
  LineCounter,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseDocument,
  type Document,
  type ErrorCode,
} from 'yaml';
import { ConfigError } from './problems.ts';
import type { Path } from './fields.ts';

/** A configuration file, read but not yet validated. */
export interface YamlFile {
  readonly content: Record<string, unknown>;
  /** Line of the deepest part of the path that is in the file; undefined where nothing of it is. */
  lineOf(path: Path): number | undefined;
}

/** Reads a YAML file; `label` is what errors call it. Errors never quote the file: a line may hold a secret. */
export async function readYaml(file: string, label: string): Promise<YamlFile> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(
      [{ path: label, message: `cannot be read: ${whyUnreadable(cause)}` }],
      'Name a readable file with --config, or leave --config out to use ./deltaferry.yaml.',
    );
  });
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
  // The first fault only: those after it are mostly its consequences.
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) {
    const { line } = lines.linePos(fault.pos[0]);
    const flow = /[{[].*\$\{/.test(text.split('\n')[line - 1] ?? '');
    throw syntaxError(
      label,
      line,
      FAULTS[fault.code] + (flow ? '; inside { } and [ ], put ${VARIABLE} in quotes' : ''),
    );
  }
  const content = contentOf(document, label);
  return { content, lineOf: (path) => lineOf(document, lines, path) };
}

export function whyUnreadable(error: NodeJS.ErrnoException): string {
  return REASONS[error.code ?? ''] ?? `it is not a readable file (${error.code ?? error.name})`;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a folder',
};

const FAULTS: Record<ErrorCode, string> = {
  ALIAS_PROPS: 'an alias (*) cannot have an anchor or a tag; put text that begins with * in quotes',
  BAD_COLLECTION_TYPE: 'a tag (!) that does not fit the value after it',
  BAD_ALIAS: 'a broken alias (*) or anchor (&); put text that begins with * or & in quotes',
  BAD_DIRECTIVE: 'a broken directive (%); put text that begins with % in quotes',
  BAD_DQ_ESCAPE: 'an unknown escape (\\) in double quotes; single quotes know none',
  BAD_INDENT: 'the indentation does not fit the lines above',
  BAD_PROP_ORDER: 'an anchor or tag is in the wrong place',
  BAD_SCALAR_START: 'text cannot begin with this character; put it in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a colon too many, or a nested value that has to begin on a line of its own',
  BLOCK_IN_FLOW: 'a block cannot stand inside [ ] or { }',
  DUPLICATE_KEY: 'this field is written twice',
  IMPOSSIBLE: 'this is not valid YAML',
  KEY_OVER_1024_CHARS: 'the name of a field is too long',
  MISSING_CHAR: 'something is missing here: a closing quote or bracket, a comma, or the space after : or -',
  MULTILINE_IMPLICIT_KEY: 'a field has to be on one line, as `name: value`',
  MULTIPLE_ANCHORS: 'two anchors on one value',
  MULTIPLE_DOCS: 'a second document begins here; only one is read',
  MULTIPLE_TAGS: 'two tags on one value',
  NON_STRING_KEY: 'the name of a field must be text',
  RESOURCE_EXHAUSTION: 'it is nested too deeply',
  TAB_AS_INDENT: 'a tab in the indentation; use spaces',
  TAG_RESOLVE_FAILED: 'an unknown tag (!); put text that begins with ! in quotes',
  UNEXPECTED_TOKEN: 'something here does not belong: a character too many, or a missing quote',
};

function syntaxError(label: string, line: number, message: string): ConfigError {
  return new ConfigError([{ path: `${label}:${line}`, message }], 'Correct the YAML at the named line.');
}

function contentOf(document: Document.Parsed, label: string): Record<string, unknown> {
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 100 });
  } catch {
    throw syntaxError(label, 1, 'an alias (*) has no anchor (&); put text that begins with * in quotes');
  }
  if (content === null || content === undefined) return {};
  if (typeof content !== 'object' || Array.isArray(content))
    throw syntaxError(label, 1, 'the file must hold sections, as `kafka:` on a line of its own');
  return content as Record<string, unknown>;
}

function lineOf(document: Document.Parsed, lines: LineCounter, path: Path): number | undefined {
  let at: unknown = document.contents;
  let offset: number | undefined;
  for (const step of path) {
    if (isAlias(at)) break;
    if (isMap(at)) {
      const pair = at.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
      if (pair === undefined) break;
      offset = isScalar(pair.key) ? (pair.key.range?.[0] ?? offset) : offset;
      at = pair.value;
    } else if (isSeq(at) && typeof step === 'number' && at.items[step] !== undefined) {
      at = at.items[step];
      offset = (at as { range?: [number, number, number] | null }).range?.[0] ?? offset;
    } else break;
  }
  return offset === undefined ? undefined : lines.linePos(offset).line;
}
