/** A field whose values change their type from one version of a schema to the next. */
export interface TypeChange {
  /** `field Row.salary was decimal(12,4) and would be decimal(12,2)` */
  readonly text: string;
  /** The registry sees no difference: to it a decimal is bytes and a timestamp a long. */
  readonly unseen: boolean;
}

/** Fields that both schemas have and that would hold other values; more digits of a decimal are no change. */
export function typeChanges(registered: object, wanted: object): readonly TypeChange[] {
  const before = fieldTypes(registered);
  const after = fieldTypes(wanted);
  return [...before].flatMap(([field, was]) => {
    const is = after.get(field);
    if (is === undefined || readsTheSame(was, is)) return [];
    return [
      { text: `field ${field} was ${nameOf(was)} and would be ${nameOf(is)}`, unseen: was.base === is.base },
    ];
  });
}

interface FieldType {
  /** What is on the wire: `long`, `bytes`, `null|string`. */
  readonly base: string;
  readonly logicalType: string | null;
  readonly precision: number;
  readonly scale: number;
}

function readsTheSame(was: FieldType, is: FieldType): boolean {
  if (was.base !== is.base || was.logicalType !== is.logicalType) return false;
  return was.scale === is.scale && was.precision <= is.precision;
}

function nameOf({ base, logicalType, precision, scale }: FieldType): string {
  if (logicalType === 'decimal') return `decimal(${precision},${scale})`;
  return logicalType ?? base.replace(/^null\|/, '');
}

/** `record.field` → its type, for every record in the schema. */
function fieldTypes(schema: unknown, into = new Map<string, FieldType>()): Map<string, FieldType> {
  if (Array.isArray(schema)) for (const branch of schema) fieldTypes(branch, into);
  else if (isObject(schema)) {
    const fields = schema['type'] === 'record' && Array.isArray(schema['fields']) ? schema['fields'] : [];
    for (const field of fields) {
      if (!isObject(field)) continue;
      into.set(`${String(schema['name'])}.${String(field['name'])}`, fieldType(field['type']));
      fieldTypes(field['type'], into);
    }
    if (isObject(schema['type'])) fieldTypes(schema['type'], into);
  }
  return into;
}

function fieldType(type: unknown): FieldType {
  const branches = (Array.isArray(type) ? type : [type]) as readonly unknown[];
  const annotated = branches.filter(isObject).find((branch) => typeof branch['logicalType'] === 'string');
  return {
    base: branches.map(baseOf).join('|'),
    logicalType: annotated === undefined ? null : String(annotated['logicalType']),
    precision: Number(annotated?.['precision'] ?? 0),
    scale: Number(annotated?.['scale'] ?? 0),
  };
}

/** A primitive's name; a record or enum by its own name, which may stand for its definition. */
function baseOf(branch: unknown): string {
  if (!isObject(branch)) return String(branch);
  return String(branch['name'] ?? branch['type']);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
