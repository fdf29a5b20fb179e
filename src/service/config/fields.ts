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
export function noted<T extends z.ZodType>(
  schema: T,
  description: string,
  note?: Omit<FieldNote, 'description'>,
): T {
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
  readonly defaultValue: string | number | boolean | undefined;
  readonly choices: readonly string[];
}

/** What the wrappers round a schema say of the field. */
interface Wrapping {
  readonly note?: FieldNote | undefined;
  readonly required: boolean;
  readonly defaultValue?: unknown;
}

/** Reads a schema's tree of fields. The schema uses only the constructs handled here. */
export function treeOf(schema: z.core.$ZodType, outer: Wrapping = { required: true }): Node {
  const wrapping = { ...outer, note: outer.note ?? notes.get(schema as z.ZodType) };
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if (def.type === 'default' || def.type === 'prefault')
    return treeOf(def.innerType, { ...wrapping, required: false, defaultValue: def.defaultValue });
  if (def.type === 'optional') return treeOf(def.innerType, { ...wrapping, required: false });
  if (def.type === 'pipe') return treeOf(isTransform(def.in) ? def.out : def.in, wrapping);

  const { required } = outer;
  const note = wrapping.note ?? { description: '' };
  if (def.type === 'object') {
    const fields = Object.entries(def.shape).map(([name, field]) => [name, treeOf(field)] as const);
    return { kind: 'map', note, required, fields: new Map(fields) };
  }
  if (def.type === 'array') return { kind: 'list', note, required, item: treeOf(def.element) };

  const defaultValue = outer.defaultValue as LeafNode['defaultValue'];
  if (def.type === 'enum')
    return { kind: 'choice', note, required, defaultValue, choices: Object.values(def.entries).map(String) };
  if (def.type === 'string') return { kind: 'text', note, required, defaultValue, choices: [] };
  if (def.type === 'number' || def.type === 'boolean')
    return { kind: def.type, note, required, defaultValue, choices: [] };
  throw new Error(`a configuration field cannot be a zod ${def.type}`);
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
  return path
    .map((step, at) => (typeof step === 'number' ? `[${step}]` : at === 0 ? step : `.${step}`))
    .join('');
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
