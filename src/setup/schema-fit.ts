/**
 * What the registry does not see: to it a decimal is bytes and a timestamp a long, so that another
 * scale or another unit counts as compatible, and every older record would read as another value.
 */
export function valueTypeChanges(registered: object, wanted: object): readonly string[] {
  const before = fieldTypes(registered);
  const after = fieldTypes(wanted);
  return [...before].flatMap(([field, was]) => {
    const is = after.get(field);
    return is === undefined || readsTheSame(was, is)
      ? []
      : [`field ${field} was ${text(was)} and would be ${text(is)}`];
  });
}

interface FieldType {
  readonly logicalType: string | null;
  readonly precision: number;
  readonly scale: number;
}

function readsTheSame(was: FieldType, is: FieldType): boolean {
  return was.logicalType === is.logicalType && was.scale === is.scale && was.precision <= is.precision;
}

function text({ logicalType, precision, scale }: FieldType): string {
  return logicalType === 'decimal' ? `decimal(${precision},${scale})` : (logicalType ?? 'a plain value');
}

/** `record.field` → the logical type of its values, for every record in the schema. */
function fieldTypes(schema: unknown, into = new Map<string, FieldType>()): Map<string, FieldType> {
  if (Array.isArray(schema)) for (const branch of schema) fieldTypes(branch, into);
  else if (isObject(schema)) {
    const fields = schema['type'] === 'record' && Array.isArray(schema['fields']) ? schema['fields'] : [];
    for (const field of fields) {
      if (!isObject(field)) continue;
      into.set(`${String(schema['name'])}.${String(field['name'])}`, logicalTypeOf(field['type']));
      fieldTypes(field['type'], into);
    }
    if (isObject(schema['type'])) fieldTypes(schema['type'], into);
  }
  return into;
}

function logicalTypeOf(type: unknown): FieldType {
  const branches = (Array.isArray(type) ? type : [type]) as readonly unknown[];
  const annotated = branches.filter(isObject).find((branch) => typeof branch['logicalType'] === 'string');
  return {
    logicalType: annotated === undefined ? null : String(annotated['logicalType']),
    precision: Number(annotated?.['precision'] ?? 0),
    scale: Number(annotated?.['scale'] ?? 0),
  };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
