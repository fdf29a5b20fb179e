import { undecodable } from './avro-reader.ts';

const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'string', 'bytes'] as const;

export type PrimitiveName = (typeof PRIMITIVES)[number];

/** What a record was written with, names resolved. */
export type Written =
  | {
      readonly kind: PrimitiveName;
      readonly logicalType: string | null;
      /** Of a decimal; 0 elsewhere. */
      readonly scale: number;
    }
  | { readonly kind: 'record'; readonly fields: readonly WrittenField[] }
  | { readonly kind: 'union'; readonly branches: readonly Written[] }
  | { readonly kind: 'enum'; readonly symbols: readonly string[] }
  | { readonly kind: 'fixed'; readonly size: number };

export interface WrittenField {
  readonly name: string;
  readonly type: Written;
}

/**
 * Reads a schema of the registry. Arrays, maps and recursive records are refused: no schema of ours has them,
 * and bytes that claim a billion empty items could not be bounded. Throws a PoisonError UNDECODABLE.
 */
export function readWriterSchema(schema: unknown): Written {
  return readType(schema, '', new Map());
}

type Names = Map<string, Written>;

function readType(schema: unknown, namespace: string, names: Names): Written {
  if (typeof schema === 'string') return namedType(schema, namespace, names);
  if (Array.isArray(schema)) {
    return { kind: 'union', branches: schema.map((branch) => readType(branch, namespace, names)) };
  }
  if (!isObject(schema)) throw unsupported(schema);
  if (schema['type'] === 'record' || schema['type'] === 'enum' || schema['type'] === 'fixed') {
    return readNamed(schema, schema['type'], namespace, names);
  }
  const primitive = PRIMITIVES.find((name) => name === schema['type']);
  if (primitive !== undefined) return readPrimitive(primitive, schema);
  if (isObject(schema['type']) || Array.isArray(schema['type']))
    return readType(schema['type'], namespace, names);
  if (typeof schema['type'] === 'string') return namedType(schema['type'], namespace, names);
  throw unsupported(schema);
}

function readPrimitive(kind: PrimitiveName, schema: Readonly<Record<string, unknown>>): Written {
  const logicalType = typeof schema['logicalType'] === 'string' ? schema['logicalType'] : null;
  const scale = schema['scale'] ?? 0;
  if (typeof scale !== 'number' || !Number.isInteger(scale) || scale < 0 || scale > 1000)
    throw unsupported(schema);
  return { kind, logicalType, scale };
}

function readNamed(
  schema: Readonly<Record<string, unknown>>,
  kind: 'record' | 'enum' | 'fixed',
  outer: string,
  names: Names,
): Written {
  const { name } = schema;
  if (typeof name !== 'string') throw unsupported(schema);
  const given = typeof schema['namespace'] === 'string' ? schema['namespace'] : outer;
  const fullName = qualified(name, given);
  const namespace = fullName.slice(0, Math.max(0, fullName.lastIndexOf('.')));
  const type = readBody(schema, kind, namespace, names);
  // Only now: a record that contains itself then refers to an unknown name and is refused.
  names.set(fullName, type);
  return type;
}

function readBody(
  schema: Readonly<Record<string, unknown>>,
  kind: 'record' | 'enum' | 'fixed',
  namespace: string,
  names: Names,
): Written {
  const { fields, symbols, size } = schema;
  if (kind === 'record' && Array.isArray(fields)) {
    return { kind, fields: fields.map((field: unknown) => readField(field, namespace, names)) };
  }
  if (kind === 'enum' && Array.isArray(symbols)) return { kind, symbols: symbols.map(String) };
  if (kind === 'fixed' && typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) {
    return { kind, size };
  }
  throw unsupported(schema);
}

function readField(field: unknown, namespace: string, names: Names): WrittenField {
  if (!isObject(field) || typeof field['name'] !== 'string') throw unsupported(field);
  return { name: field['name'], type: readType(field['type'], namespace, names) };
}

function namedType(name: string, namespace: string, names: Names): Written {
  const primitive = PRIMITIVES.find((known) => known === name);
  if (primitive !== undefined) return { kind: primitive, logicalType: null, scale: 0 };
  const known = names.get(qualified(name, namespace)) ?? names.get(name);
  if (known === undefined) throw unsupported(name);
  return known;
}

function qualified(name: string, namespace: string): string {
  return name.includes('.') || namespace === '' ? name : `${namespace}.${name}`;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unsupported(schema: unknown): Error {
  return undecodable(
    `its schema is not one of a change: ${(JSON.stringify(schema) ?? 'nothing').slice(0, 120)}`,
  );
}
