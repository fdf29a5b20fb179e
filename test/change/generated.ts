import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { changeSchema } from '../../src/change/avro.ts';
import { EMPLOYEES } from './fixtures.ts';
import { typesDocument } from './types-document.ts';

// Writes the files of the tree that are made from src/change; tests compare them.
const root = new URL('../../', import.meta.url);
const files = {
  'schemas/employees_changes-value.avsc': JSON.stringify(changeSchema(EMPLOYEES), null, 2),
  'docs/TYPES.md': typesDocument(),
};
for (const [file, text] of Object.entries(files)) writeFileSync(new URL(file, root), text);
execFileSync('node_modules/.bin/oxfmt', Object.keys(files), { cwd: fileURLToPath(root), stdio: 'ignore' });
