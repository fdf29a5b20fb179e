import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { createDeltaMerge } from '../../src/consumers/delta-merge.ts';

const SRC = join(import.meta.dirname, '../../src');
const BUFFER = 'flow/merge-buffer.ts';

/** One mistake in the source: `find` must be there exactly once. */
export interface Mutant {
  readonly name: string;
  /** Below src/: a file of consumers/, or the buffer. */
  readonly file: string;
  readonly find: string;
  readonly put: string;
}

/** The merging consumer with that mistake in it; everything it imports from elsewhere is the real thing. */
export async function mutated<T>(
  { file, find, put }: Mutant,
  use: (create: typeof createDeltaMerge) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'deltaferry-mutant-'));
  try {
    const consumers = readdirSync(join(SRC, 'consumers')).map((name) => `consumers/${name}`);
    for (const name of [...consumers, BUFFER]) {
      const to = join(folder, name);
      cpSync(join(SRC, name), to, { recursive: true });
      let source = readFileSync(to, 'utf8');
      if (name === file) {
        assert.equal(source.split(find).length, 2, `${file} no longer says: ${find}`);
        source = source.replace(find, () => put);
      }
      writeFileSync(
        to,
        source.replaceAll(/from '\.\.\/([^']+)'/g, (as, path: string) => real(as, path)),
      );
    }
    const module = (await import(pathToFileURL(join(folder, 'consumers/delta-merge.ts')).href)) as {
      createDeltaMerge: typeof createDeltaMerge;
    };
    return await use(module.createDeltaMerge);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Errors are told by their class: there must be one of each. */
function real(as: string, path: string): string {
  return path === BUFFER ? as : `from '${pathToFileURL(join(SRC, path)).href}'`;
}
