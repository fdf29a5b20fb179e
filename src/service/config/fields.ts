import { z } from 'zod';

/** What the schema says of a field beyond its type; help, documentation and redaction come from it. */
export interface FieldNote {
  readonly description: string;
  /** `whole`: never shown. `url`: shown without its password. */
  readonly secret?: 'whole' | 'url';
  /** The value is the path of a file: relative to the file that names it, and it must be readable. */
  readonly file?: true;
  /** Like `file`, for a folder that need not exist. */
  readonly folder?: true;
  readonly example?: string;
  /** Said in place of the default where the default depends on something else. */
  readonly defaultText?: string;
}

const notes = z.registry<FieldNote>();

/** Notes the description of a field or section on its outermost schema. */
export function noted<T extends z.ZodType>(schema: T, description: string, note?: Omit<FieldNote, 'description'>): T {
  notes.add(schema, { description, ...note });
  return schema;
}

/** The schema as a plain tree, which everything but the validation itself walks. */
export type Node = MapNode | ListNode | LeafNode;

export interface MapNode {
  readonly kind: 'map';
  readonly note: FieldNote;
  readonly required: boolean;
  readonly fields: ReadonlyMap<string, Node>;
}

export interface ListNode {
  readonly kind: 'list';
  readonly note: FieldNote;
  readonly required: boolean;
  readonly item: Node;
}

export interface LeafNode {
  readonly kind: 'text' | 'number' | 'boolean' | 'choice';
  readonly note: FieldNote;
  readonly required: boolean;
  readonly defaultValue: unknown;
  readonly choices: readonly string[];
}

/** Reads a schema's tree of fields. The schema uses only the constructs handled here. */
export function treeOf(schema: z.core.$ZodType): Node {
  let at = schema;
  let note: FieldNote = { description: '' };
  let required = true;
  let defaultValue: unknown;
  for (;;) {
    note = notes.get(at as z.ZodType) ?? note;
    const { def } = (at as z.core.$ZodTypes)._zod;
    switch (def.type) {
      case 'default':
      case 'prefault':
        required = false;
        defaultValue = def.defaultValue;
        at = def.innerType;
        continue;
      case 'optional':
        required = false;
        at = def.innerType;
        continue;
      case 'pipe':
        at = isTransform(def.in) ? def.out : def.in;
        continue;
      case 'object': {
        const fields = Object.entries(def.shape).map(([name, field]) => [name, treeOf(field)] as const);
        return { kind: 'map', note, required, fields: new Map(fields) };
      }
      case 'array':
        return { kind: 'list', note, required, item: treeOf(def.element) };
      case 'enum': {
        const choices = Object.values(def.entries).map(String);
        return { kind: 'choice', note, required, defaultValue, choices };
      }
      case 'string':
        return { kind: 'text', note, required, defaultValue, choices: [] };
      case 'number':
      case 'boolean':
        return { kind: def.type, note, required, defaultValue, choices: [] };
      default:
        throw new Error(`a configuration field cannot be a zod ${def.type}`);
    }
  }
}

function isTransform(schema: z.core.$ZodType): boolean {
  return (schema as z.core.$ZodTypes)._zod.def.type === 'transform';
}

export type Path = readonly (string | number)[];

/** The node that a path leads to; undefined where there is none. */
export function nodeAt(tree: Node, path: Path): Node | undefined {
  let at: Node | undefined = tree;
  for (const step of path) {
    if (at?.kind === 'map') at = at.fields.get(String(step));
    else if (at?.kind === 'list') at = typeof step === 'number' ? at.item : undefined;
    else return undefined;
  }
  return at;
}

/** `tables[0].columns[2].type` */
export function pathText(path: Path): string {
  return path.map((step, at) => (typeof step === 'number' ? `[${step}]` : at === 0 ? step : `.${step}`)).join('');
}

/** Fields that one text can set: leaves and lists of texts, outside of `tables`. */
export function settableFields(tree: Node, path: readonly string[] = []): (readonly [string[], Node])[] {
  if (tree.kind === 'map')
    return [...tree.fields].flatMap(([name, node]) => settableFields(node, [...path, name]));
  if (tree.kind === 'list' && tree.item.kind !== 'text') return [];
  return [[[...path], tree]];
}

/** `kafka.clientId` → `DELTAFERRY_KAFKA_CLIENT_ID` */
export function envNameOf(path: readonly string[]): string {
  const words = path.map((name) => name.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase());
  return ['DELTAFERRY', ...words].join('_');
}
