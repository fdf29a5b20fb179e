import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BugError } from '../../errors.ts';
import { textOf, type Databricks } from './client.ts';
import type { DatabricksWhere } from './errors.ts';

/** Files of one sink in a volume: written for one merge, then removed. */
export interface Staging {
  /** Uploads the text; answers the file's path. `partition` and `next` are of any part of the merge. */
  put(text: string, at: { readonly partition: number; readonly next: bigint }): Promise<string>;
  remove(path: string): Promise<void>;
  /** Removes the files of merges that are done, by whomever: those at or behind these offsets. */
  sweep(offsets: ReadonlyMap<number, bigint>): Promise<void>;
}

const UPLOAD_MS = 300_000;

/** `folder`: such as `/Volumes/main/default/deltaferry/employees`; made by the first upload. */
export function createStaging(client: Databricks, folder: string): Staging {
  const where = (doing: string): DatabricksWhere => ({ doing, volume: folder });

  async function remove(path: string): Promise<void> {
    // Nothing is read or written here, but without a folder the driver would not carry it out.
    const sql = `REMOVE ${quoted(path)}`;
    await client.query({ ...where('removing a staged file'), sql, localFolder: tmpdir() });
  }

  return {
    async put(text, { partition, next }) {
      const path = `${folder}/${partition}-${next}-${randomUUID()}.jsonl`;
      const localFolder = await mkdtemp(join(tmpdir(), 'deltaferry-'));
      try {
        const file = join(localFolder, 'rows.jsonl');
        await writeFile(file, text, { mode: 0o600 });
        await client.query({
          ...where('staging rows'),
          sql: `PUT ${quoted(file)} INTO ${quoted(path)} OVERWRITE`,
          localFolder,
          timeoutMs: UPLOAD_MS,
        });
      } finally {
        await rm(localFolder, { recursive: true, force: true });
      }
      return path;
    },

    remove,

    async sweep(offsets) {
      const files = await client.query({
        ...where('looking for staged files'),
        sql: `LIST ${quoted(folder)}`,
      });
      for (const { name } of files) {
        const found = /^(\d+)-(\d+)-[0-9a-f-]{36}\.jsonl$/.exec(textOf(name));
        if (found === null) continue;
        const [file, partition, next = '0'] = found;
        // A merge moves all its partitions together, and none of them ever goes back.
        if ((offsets.get(Number(partition)) ?? -1n) >= BigInt(next)) await remove(`${folder}/${file}`);
      }
    },
  };
}

/** These statements take no parameters. */
function quoted(path: string): string {
  if (/['\\\n]/.test(path))
    throw new BugError({
      code: 'STAGING_PATH',
      message: `The path ${path} cannot be written in a statement.`,
    });
  return `'${path}'`;
}
