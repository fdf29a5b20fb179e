import { writeFileSync } from 'node:fs';
import { changeSchema } from '../../src/change/avro.ts';
import { EMPLOYEES } from './fixtures.ts';
import { typesDocument } from './types-document.ts';

/** Files in the tree that are made from the code. Run this file to write them again. */
export function schemaFileText(): string {
  return `${JSON.stringify(changeSchema(EMPLOYEES), null, 2)}\n`;
}

if (import.meta.main) {
  writeFileSync(new URL('../../schemas/employees_changes-value.avsc', import.meta.url), schemaFileText());
  writeFileSync(new URL('../../docs/TYPES.md', import.meta.url), typesDocument());
}
